-- p0 = "seats"
SELECT sequence, source AS example_source, id AS example_id
FROM events WHERE type = {p0:String}
    AND sequence IN (SELECT sequence FROM sequences)
