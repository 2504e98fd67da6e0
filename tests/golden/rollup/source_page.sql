-- p0 = "call"
-- p1 = "plan"
-- p2 = ["gold", "it's"]
-- p3 = "test"
-- p4 = ["yes"]
-- p5 = "region"
-- p6 = ["a", "b"]
-- p7 = 1
-- p8 = 2
-- p9 = "eu"
-- p10 = "gold"
-- p11 = 7
SELECT e.source AS source, e.id AS id, e.subject AS subject, e.time AS time,
    e.sequence AS sequence, e.value AS value, e.properties AS properties,
    CAST(e.number AS Nullable(Decimal(38, 12))) AS number
FROM (
    SELECT source, id, subject, time, sequence, replaces, value, properties,
        CAST(properties[{p5:String}] AS String) AS dimension_0,
        CAST(properties[{p1:String}] AS String) AS dimension_1,
        value AS number,
        if(isNull(value), 'value_missing', '') AS reason_code
    FROM events
    WHERE type = {p0:String} AND replaces = 0 AND (mapContains(properties, {p1:String}) AND properties[{p1:String}] IN ({p2:Array(String)})) AND NOT (mapContains(properties, {p3:String}) AND properties[{p3:String}] IN ({p4:Array(String)})) AND (mapContains(properties, {p5:String}))
) AS e
WHERE isNotNull(e.number)
    AND e.subject IN ({p6:Array(String)})
    AND e.time >= fromUnixTimestamp64Micro({p7:Int64}, 'UTC')
    AND e.time < fromUnixTimestamp64Micro({p8:Int64}, 'UTC')
    AND e.dimension_0 = {p9:String}
    AND e.dimension_1 = {p10:String}
    AND (e.time, e.sequence) > (fromUnixTimestamp64Micro({p7:Int64}, 'UTC'), toUInt64({p11:Int64}))
ORDER BY e.time, e.sequence
LIMIT 100
