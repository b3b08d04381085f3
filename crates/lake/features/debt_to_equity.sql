-- name: debt_to_equity
-- title: debt to equity
-- section: fundamentals
-- unit: ratio
-- ttl_days: 500
-- kind: facts
-- formula: (long-term debt + debt due within a year) / stockholders' equity at the end of the latest fiscal year; undefined where long-term debt is not tagged or equity <= 0
SELECT
    (debt_noncurrent + debt_current) / equity AS value, event_time, known_at, source, url
FROM fiscal_years
WHERE age = 0 AND equity > 0
