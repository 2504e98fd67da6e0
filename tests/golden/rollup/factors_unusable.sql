-- p0 = "flight"
-- p1 = "seats"
-- p2 = 1
-- p3 = 2
SELECT c.period_key AS period_key,
    count() AS event_count,
    argMin(e.source, (e.time, e.sequence)) AS example_source,
    argMin(e.id, (e.time, e.sequence)) AS example_id,
    e.reason_code AS reason_code
FROM (
    SELECT source, id, subject, time, sequence, replaces, value, properties,
        if((multiIf(isNull(value), 'value_missing', NOT mapContains(properties, {p1:String}), 'factor_missing', NOT match(CAST(properties[{p1:String}] AS String), '^[+-]?[0-9]{1,15}([.][0-9]{1,12})?$'), 'factor_not_a_number', (toInt256(reinterpretAsInt128(assumeNotNull(value))) * reinterpretAsInt256(toDecimal256OrZero(CAST(properties[{p1:String}] AS String), 12))) % toInt256('1000000000000') != 0, 'product_too_precise', abs((toInt256(reinterpretAsInt128(assumeNotNull(value))) * reinterpretAsInt256(toDecimal256OrZero(CAST(properties[{p1:String}] AS String), 12)))) >= toInt256('1000000000000000000000000000') * toInt256('1000000000000'), 'product_too_large', '')) = '', reinterpret(toInt128(assumeNotNull(intDiv((toInt256(reinterpretAsInt128(assumeNotNull(value))) * reinterpretAsInt256(toDecimal256OrZero(CAST(properties[{p1:String}] AS String), 12))), toInt256('1000000000000')))), 'Decimal(38, 12)'), NULL) AS number,
        multiIf(isNull(value), 'value_missing', NOT mapContains(properties, {p1:String}), 'factor_missing', NOT match(CAST(properties[{p1:String}] AS String), '^[+-]?[0-9]{1,15}([.][0-9]{1,12})?$'), 'factor_not_a_number', (toInt256(reinterpretAsInt128(assumeNotNull(value))) * reinterpretAsInt256(toDecimal256OrZero(CAST(properties[{p1:String}] AS String), 12))) % toInt256('1000000000000') != 0, 'product_too_precise', abs((toInt256(reinterpretAsInt128(assumeNotNull(value))) * reinterpretAsInt256(toDecimal256OrZero(CAST(properties[{p1:String}] AS String), 12)))) >= toInt256('1000000000000000000000000000') * toInt256('1000000000000'), 'product_too_large', '') AS reason_code
    FROM events
    WHERE type = {p0:String} AND replaces = 0
) AS e INNER JOIN calendar AS c ON e.subject = c.subject
WHERE isNull(e.number)
    AND e.time >= fromUnixTimestamp64Micro({p2:Int64}, 'UTC')
    AND e.time < fromUnixTimestamp64Micro({p3:Int64}, 'UTC')
    AND e.time >= c.period_start
    AND e.time < c.period_end
GROUP BY period_key, reason_code
ORDER BY period_key, reason_code
