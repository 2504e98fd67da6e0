-- p0 = ["call"]
-- p1 = 1
-- p2 = 2
-- p3 = "it's"
SELECT toUInt32(7) AS period_key,
    toUInt32(indexOf({p0:Array(String)}, e.type) - 1) AS type_number,
    count() AS event_count,
    count(e.value) AS number_count,
    sum(e.value) AS `sum`
FROM events AS e 
WHERE e.type IN ({p0:Array(String)})
    AND e.replaces = 0
    AND e.subject = {p3:String}
    AND e.time >= fromUnixTimestamp64Micro({p1:Int64}, 'UTC')
    AND e.time < fromUnixTimestamp64Micro({p2:Int64}, 'UTC')
GROUP BY period_key, type_number
