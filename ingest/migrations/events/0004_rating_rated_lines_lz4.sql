-- Written faster: a quarter less processor time for a sixth more disk (103 bytes a line instead of 89).
ALTER TABLE rated_lines
    MODIFY COLUMN quantity Decimal(38, 12) CODEC(LZ4),
    MODIFY COLUMN rated_quantity Decimal(38, 12) CODEC(LZ4),
    MODIFY COLUMN tier_units Array(Decimal(38, 12)) CODEC(LZ4),
    MODIFY COLUMN tier_amount Array(Decimal(38, 12)) CODEC(LZ4),
    MODIFY COLUMN amount Decimal(38, 12) CODEC(LZ4);
