-- Sessions of names, prices as if there had been neither split nor dividend, volume in
-- shares of the first session. Prices are scaled forward from the first session, not
-- back from the last, so that an action changes no session before it; only ratios
-- within a name mean anything. A dividend of the whole price or more leaves none to scale
-- by: from there on prices are undefined.
WITH traded AS (
    SELECT
        ticker, session, event_time, known_at, price_basis, open, high, low, close, volume,
        lag(session) OVER w AS prev_session, lag(close) OVER w AS prev_close
    FROM bars
    WINDOW w AS (PARTITION BY ticker ORDER BY session)
),
acted AS (
    SELECT
        traded.ticker, traded.session,
        CASE count(*) FILTER (WHERE action = 'split')
            WHEN 1 THEN max(value) FILTER (WHERE action = 'split')
            ELSE exp(sum(ln(value)) FILTER (WHERE action = 'split'))
        END AS split,
        sum(value) FILTER (WHERE action = 'dividend') AS dividend
    FROM traded JOIN actions
    ON actions.ticker = traded.ticker
        AND actions.ex_date > traded.prev_session
        AND actions.ex_date <= traded.session
    WHERE traded.price_basis = 'raw'
    GROUP BY traded.ticker, traded.session
),
scaled AS (
    SELECT
        traded.*,
        running_product(
            coalesce(acted.split, 1)
            / nullif(greatest(1 - coalesce(acted.dividend, 0) / coalesce(prev_close, 1), 0), 0)
        ) OVER w AS scale,
        running_product(coalesce(acted.split, 1)) OVER w AS shares
    FROM traded LEFT JOIN acted ON acted.ticker = traded.ticker AND acted.session = traded.session
    WINDOW w AS (PARTITION BY traded.ticker ORDER BY traded.session)
),
adjusted AS (
    SELECT
        ticker, session, event_time, known_at,
        open * scale AS open, high * scale AS high, low * scale AS low, close * scale AS close,
        volume / shares AS volume
    FROM scaled
)
SELECT
    adjusted.ticker, adjusted.session, adjusted.event_time, adjusted.known_at,
    adjusted.open, adjusted.high, adjusted.low, adjusted.close, adjusted.volume,
    lag(adjusted.close) OVER w AS prev_close,
    lag(adjusted.volume) OVER w AS prev_volume,
    adjusted.close / lag(adjusted.close) OVER w - 1 AS ret,
    ln(adjusted.close / lag(adjusted.close) OVER w) AS log_ret,
    market.ret AS market_ret
FROM adjusted
LEFT JOIN index_sessions market
ON market.session = adjusted.session AND market.known_at <= adjusted.known_at
WINDOW w AS (PARTITION BY adjusted.ticker ORDER BY adjusted.session)
