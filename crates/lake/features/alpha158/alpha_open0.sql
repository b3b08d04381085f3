-- name: alpha_open0
-- title: open to the close
-- section: technicals
-- unit: ratio
-- use: research
-- ttl_days: 10
-- kind: bars
-- formula: Qlib Alpha158 OPEN0 = O / C
open / close
