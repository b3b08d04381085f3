-- name: macd_12_26
-- title: MACD to the close
-- section: technicals
-- unit: ratio
-- use: research
-- ttl_days: 10
-- kind: bars
-- formula: (EMA(12) - EMA(26)) / C, seeded as TA-Lib does
macd(close, 12, 26) OVER w / close
