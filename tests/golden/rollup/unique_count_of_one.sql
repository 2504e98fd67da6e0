-- p0 = "login"
-- p1 = "user"
-- p2 = 1
-- p3 = 2
-- p4 = "it's"
SELECT toUInt32(7) AS period_key,
    count() AS event_count,
    count(e.number) AS number_count,
    CAST(uniqExact(e.number) AS Decimal(38, 12)) AS quantity
FROM (
    SELECT source, id, subject, time, sequence, replaces, value, properties,
        if(mapContains(properties, {p1:String}), CAST(properties[{p1:String}] AS Nullable(String)), NULL) AS number,
        if(mapContains(properties, {p1:String}), '', 'unique_property_missing') AS reason_code
    FROM events
    WHERE type = {p0:String} AND replaces = 0
) AS e 
WHERE e.subject = {p4:String}
    AND e.time >= fromUnixTimestamp64Micro({p2:Int64}, 'UTC')
    AND e.time < fromUnixTimestamp64Micro({p3:Int64}, 'UTC')
GROUP BY period_key
ORDER BY period_key
