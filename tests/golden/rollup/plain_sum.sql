-- p0 = ["call", "text"]
-- p1 = 1
-- p2 = 2
SELECT c.period_key AS period_key,
    toUInt32(indexOf({p0:Array(String)}, e.type) - 1) AS type_number,
    count() AS event_count,
    count(e.value) AS number_count,
    sum(e.value) AS `sum`
FROM events AS e INNER JOIN calendar AS c ON e.subject = c.subject
WHERE e.type IN ({p0:Array(String)})
    AND e.replaces = 0
    AND e.time >= fromUnixTimestamp64Micro({p1:Int64}, 'UTC')
    AND e.time < fromUnixTimestamp64Micro({p2:Int64}, 'UTC')
    AND e.time >= c.period_start
    AND e.time < c.period_end
GROUP BY period_key, type_number
