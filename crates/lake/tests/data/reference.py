"""Makes aapl_2022-09-30.csv from the raw packages, without any code of this repository.

    python3 reference.py DIR > aapl_2022-09-30.csv

DIR holds the unpacked archives of skfolio, nasdaq-news and edgar-ratios (see
configs/sources.toml). Pure standard library; formulas as in the feature files.
`news_tone_*` need the lexicon and are covered by the mean of the stored column.
"""

import csv, datetime, gzip, io, json, math, statistics, sys, zoneinfo

root = sys.argv[1]
AS_OF = datetime.date(2022, 9, 30)
END = datetime.datetime(2022, 9, 30, 23, 59, 59, 999999, datetime.timezone.utc)


def column(path, name):
    with gzip.open(f"{root}/skfolio/datasets/data/{path}", "rt") as file:
        rows = [(r["Date"], float(r[name])) for r in csv.DictReader(file) if r[name]]
    return [(d, v) for d, v in rows if datetime.date.fromisoformat(d) <= AS_OF]


stock, index = column("sp500_dataset.csv.gz", "AAPL"), column("sp500_index.csv.gz", "SP500")
p, m = [v for _, v in stock], [v for _, v in index]
assert stock[-1][0] == index[-1][0] == "2022-09-30" and [d for d, _ in stock] == [d for d, _ in index]


def returns(x):
    return [b / a - 1 for a, b in zip(x, x[1:])]


def volatility(x, n):
    logs = [math.log(b / a) for a, b in zip(x, x[1:])]
    return statistics.stdev(logs[-n:]) * math.sqrt(252)


def rsi(x, n=14):
    moves = [b - a for a, b in zip(x, x[1:])]
    gain = sum(max(d, 0) for d in moves[:n]) / n
    loss = sum(max(-d, 0) for d in moves[:n]) / n
    for d in moves[n:]:
        gain, loss = (gain * (n - 1) + max(d, 0)) / n, (loss * (n - 1) + max(-d, 0)) / n
    return 100 * gain / (gain + loss)


def drawdown(x):
    peak, worst = x[0], 0.0
    for v in x:
        peak = max(peak, v)
        worst = min(worst, v / peak - 1)
    return worst


out = {
    "index_ret_21d": m[-1] / m[-22] - 1,
    "index_ret_252d": m[-1] / m[-253] - 1,
    "index_vol_20d": volatility(m, 20),
    "ret_10d": p[-1] / p[-11] - 1,
    "mom_30d": p[-1] / p[-31] - 1,
    "mom_252_21": p[-22] / p[-253] - 1,
    "rsi_14": rsi(p),
    "dist_52w_high": p[-1] / max(p[-252:]) - 1,
    "px_vs_sma50": p[-1] / statistics.fmean(p[-50:]) - 1,
    "vol_20d": volatility(p, 20),
    "vol_60d": volatility(p, 60),
    "max_drawdown_252d": drawdown(p[-252:]),
}
r, q = returns(p)[-252:], returns(m)[-252:]
out["beta_252d"] = statistics.covariance(r, q) / statistics.variance(q)

# Fiscal 2021 (10-K of 2021-10-29) against fiscal 2020 as that 10-K restates it.
facts = json.load(open(f"{root}/edgar_ratios-2.0.0/tests/fixtures/aapl.json"))["facts"]["us-gaap"]


def at_end(concept, end):
    rows = [r for r in facts[concept]["units"]["USD"] if r["end"] == end and r["filed"] <= "2022-09-29" and r["form"] == "10-K"]
    return max(rows, key=lambda r: (r["filed"], r["accn"]))["val"]


def year(concept, unit, end):
    rows = [
        r
        for r in facts[concept]["units"][unit]
        if r["end"] == end and r["filed"] <= "2022-09-29" and r["form"] == "10-K"
        and 350 <= (datetime.date.fromisoformat(r["end"]) - datetime.date.fromisoformat(r["start"])).days <= 380
    ]
    return max(rows, key=lambda r: (r["filed"], r["accn"]))["val"]


NOW, PRIOR = "2021-09-25", "2020-09-26"
REVENUE = "RevenueFromContractWithCustomerExcludingAssessedTax"
revenue, revenue0 = (year(REVENUE, "USD", e) for e in (NOW, PRIOR))
income, income0 = (year("NetIncomeLoss", "USD", e) for e in (NOW, PRIOR))
eps, eps0 = (year("EarningsPerShareDiluted", "USD/shares", e) for e in (NOW, PRIOR))
out["revenue_growth_yoy"] = revenue / revenue0 - 1
out["net_income_growth_yoy"] = income / income0 - 1
out["eps_growth_yoy"] = eps / eps0 - 1
out["net_margin"] = income / revenue
out["net_margin_change_yoy"] = income / revenue - income0 / revenue0
out["gross_margin"] = year("GrossProfit", "USD", NOW) / revenue
debt = sum(at_end(c, NOW) for c in ("LongTermDebtNoncurrent", "LongTermDebtCurrent", "CommercialPaper"))
out["debt_to_equity"] = debt / at_end("StockholdersEquity", NOW)

articles = json.load(open(f"{root}/nasdaq_news/data/AAPL.json"))
new_york = zoneinfo.ZoneInfo("America/New_York")
for days in (7, 30):
    known = 0
    for a in articles:
        time = datetime.datetime.fromisoformat(a["publishedDate"]).replace(tzinfo=new_york)
        complete = all(a[k] for k in ("title", "text", "site", "url"))
        known += complete and END - datetime.timedelta(days=days) < time <= END
    out[f"news_count_{days}d"] = known

print("feature,value")
for name, value in out.items():
    print(f"{name},{value!r}")
