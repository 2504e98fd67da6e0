-- p0 = "operation"
-- p1 = ["set", "add", "remove"]
-- p2 = "seats"
-- p3 = "edition"
-- p4 = 2
SELECT s.subject_number AS subject_number, e.dimension_0 AS dimension_0,
    toUnixTimestamp64Micro(e.time) AS time_micros,
    e.sequence AS sequence,
    e.value AS value,
    multiIf(NOT mapContains(e.properties, {p0:String}), 0, indexOf({p1:Array(String)}, CAST(e.properties[{p0:String}] AS String)) = 0, 3, indexOf({p1:Array(String)}, CAST(e.properties[{p0:String}] AS String)) - 1) AS operation
FROM (
    SELECT source, id, subject, time, sequence, replaces, value, properties,
        CAST(properties[{p3:String}] AS String) AS dimension_0,
        if(multiIf(NOT mapContains(properties, {p0:String}), 0, indexOf({p1:Array(String)}, CAST(properties[{p0:String}] AS String)) = 0, 3, indexOf({p1:Array(String)}, CAST(properties[{p0:String}] AS String)) - 1) < 3, value, NULL) AS number,
        multiIf(isNull(value), 'value_missing', NOT (multiIf(NOT mapContains(properties, {p0:String}), 0, indexOf({p1:Array(String)}, CAST(properties[{p0:String}] AS String)) = 0, 3, indexOf({p1:Array(String)}, CAST(properties[{p0:String}] AS String)) - 1) < 3), 'unknown_operation', '') AS reason_code
    FROM events
    WHERE type = {p2:String} AND replaces = 0
) AS e INNER JOIN subjects AS s ON e.subject = s.subject
WHERE e.subject IN (SELECT subject FROM subjects)
    AND e.time < fromUnixTimestamp64Micro({p4:Int64}, 'UTC')
ORDER BY e.subject, dimension_0, e.time, e.sequence
