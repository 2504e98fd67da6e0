-- p0 = "login"
-- p1 = "user"
-- p2 = 1
-- p3 = 2
SELECT c.period_key AS period_key,
    count() AS event_count,
    count(e.number) AS number_count,
    CAST(uniqExact(e.number) AS Decimal(38, 12)) AS quantity
FROM (
    SELECT source, id, subject, time, sequence, replaces, value, properties,
        if(mapContains(properties, {p1:String}), CAST(properties[{p1:String}] AS Nullable(String)), NULL) AS number,
        if(mapContains(properties, {p1:String}), '', 'unique_property_missing') AS reason_code
    FROM events
    WHERE type = {p0:String} AND replaces = 0
) AS e ASOF INNER JOIN calendar AS c ON e.subject = c.subject AND e.time >= c.period_start
WHERE e.subject IN (SELECT subject FROM calendar)
    AND e.time >= fromUnixTimestamp64Micro({p2:Int64}, 'UTC')
    AND e.time < fromUnixTimestamp64Micro({p3:Int64}, 'UTC')
    AND e.time >= c.period_start
    AND e.time < c.period_end
GROUP BY period_key
ORDER BY period_key
