-- p0 = "call"
-- p1 = "plan"
-- p2 = ["gold", "it's"]
-- p3 = "test"
-- p4 = ["yes"]
-- p5 = "region"
-- p6 = 1
-- p7 = 2
SELECT c.period_key AS period_key, e.dimension_0 AS dimension_0, e.dimension_1 AS dimension_1,
    count() AS event_count,
    count(e.number) AS number_count,
    sum(e.number) AS quantity
FROM (
    SELECT source, id, subject, time, sequence, replaces, value, properties,
        CAST(properties[{p5:String}] AS String) AS dimension_0,
        CAST(properties[{p1:String}] AS String) AS dimension_1,
        value AS number,
        if(isNull(value), 'value_missing', '') AS reason_code
    FROM events
    WHERE type = {p0:String} AND sequence NOT IN (SELECT sequence FROM superseded_events WHERE type IN ({p0:String}) AND correction_sequence <= 7 AND corrected_at <= fromUnixTimestamp64Micro(toInt64(3), 'UTC')) AND (replaces = 0 OR sequence IN (SELECT correction_sequence FROM superseded_events WHERE type IN ({p0:String}) AND correction_sequence <= 7 AND corrected_at <= fromUnixTimestamp64Micro(toInt64(3), 'UTC'))) AND ingested_at <= fromUnixTimestamp64Micro(toInt64(3), 'UTC') AND (mapContains(properties, {p1:String}) AND properties[{p1:String}] IN ({p2:Array(String)})) AND NOT (mapContains(properties, {p3:String}) AND properties[{p3:String}] IN ({p4:Array(String)})) AND (mapContains(properties, {p5:String}))
) AS e ASOF INNER JOIN calendar AS c ON e.subject = c.subject AND e.time >= c.period_start
WHERE e.subject IN (SELECT subject FROM calendar)
    AND e.time >= fromUnixTimestamp64Micro({p6:Int64}, 'UTC')
    AND e.time < fromUnixTimestamp64Micro({p7:Int64}, 'UTC')
    AND e.time >= c.period_start
    AND e.time < c.period_end
GROUP BY period_key, dimension_0, dimension_1
ORDER BY period_key, dimension_0, dimension_1
