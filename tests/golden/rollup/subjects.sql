-- p0 = "call"
-- p1 = 2
-- p2 = 1
SELECT DISTINCT CAST(subject AS String) AS subject FROM events
WHERE type = {p0:String}
    AND replaces = 0
    AND time < fromUnixTimestamp64Micro({p1:Int64}, 'UTC')
    AND time >= fromUnixTimestamp64Micro({p2:Int64}, 'UTC')
ORDER BY subject
