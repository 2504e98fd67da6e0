-- p0 = "call"
-- p1 = "region"
-- p2 = 1
-- p3 = 2
SELECT period_key, dimension_0,
    sum(part_events) AS event_count, sum(part_numbers) AS number_count,
    max(part_quantity) AS quantity
FROM (
    SELECT c.period_key AS period_key, e.dimension_0 AS dimension_0,
        roundDown(toUnixTimestamp64Micro(e.time), CAST([-90000000000, -3600000000] AS Array(Int64))) AS part,
        count() AS part_events, count(e.number) AS part_numbers,
        sum(e.number) AS part_quantity
    FROM (
    SELECT source, id, subject, time, sequence, replaces, value, properties,
        CAST(properties[{p1:String}] AS String) AS dimension_0,
        value AS number,
        if(isNull(value), 'value_missing', '') AS reason_code
    FROM events
    WHERE type = {p0:String} AND replaces = 0
) AS e ASOF INNER JOIN calendar AS c ON e.subject = c.subject AND e.time >= c.period_start
    WHERE e.subject IN (SELECT subject FROM calendar) AND e.time >= fromUnixTimestamp64Micro({p2:Int64}, 'UTC') AND e.time < fromUnixTimestamp64Micro({p3:Int64}, 'UTC') AND e.time >= c.period_start AND e.time < c.period_end
    GROUP BY period_key, dimension_0, part
)
GROUP BY period_key, dimension_0
ORDER BY period_key, dimension_0
