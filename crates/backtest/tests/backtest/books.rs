//! The books of small markets, by hand.

use backtest::{
    ActionKind, Backtest, BacktestError, Choice, Config, Costs, Detail, Frame, History, Limits,
    Market, Strategy, TradeKind, decision_days, peak_impact, run,
    strategies::{BuyAndHold, EqualWeight},
};

use chrono::NaiveDate;
use domain::Ticker;

use crate::markets::{Scripted, day, market, name, with_action, with_volume};

fn config(days: usize) -> Config {
    Config {
        horizon: 2,
        decide_every: 2,
        capital: 1000.0,
        costs: Costs::proportional(0.0),
        ..Config::new(day(0), day(days - 1))
    }
}

fn books(market: &Market, strategy: &mut dyn Strategy, config: &Config) -> Backtest {
    run(market, strategy, config, Detail::Full).unwrap()
}

fn near(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-12 * expected.abs().max(1.0), "{found} {expected}");
}

/// A decision of day 0 is traded at the close of day 1, at the equity before costs, and
/// costs come out of cash.
#[test]
fn the_close_after_the_decision_is_what_is_paid() {
    let market = market(vec![name("A", &[10.0, 20.0, 25.0, 30.0])]);
    let config =
        Config { costs: Costs::proportional(10.0), horizon: 3, decide_every: 3, ..config(4) };
    let backtest = books(&market, &mut BuyAndHold::default(), &config);
    let bought = backtest.trades[0];
    assert_eq!((bought.session, bought.shares, bought.price), (1, 50.0, 20.0));
    near(bought.costs.commission, 1.0);
    let sold = backtest.trades[1];
    assert_eq!((sold.session, sold.shares, sold.kind), (3, -50.0, TradeKind::Liquidation));
    near(sold.costs.commission, 1.5);
    // The first day counts.
    assert_eq!(backtest.returns.len(), 4);
    for (equity, expected) in backtest.equity.iter().zip([1.0, 0.999, 1.249, 1.4975]) {
        near(*equity, expected);
    }
}

#[test]
fn weights_drift_until_the_next_decision() {
    let market = market(vec![
        name("A", &[10.0, 10.0, 20.0, 20.0, 20.0, 20.0]),
        name("B", &[10.0, 10.0, 10.0, 10.0, 10.0, 10.0]),
    ]);
    let backtest = books(&market, &mut EqualWeight, &config(6));
    let weights: Vec<&[f64]> = backtest.weights().unwrap().days().collect();
    assert_eq!(weights[1], [0.5, 0.5]);
    near(weights[2][0], 2.0 / 3.0);
    // Decided on day 2, traded on day 3: 1500 in two halves.
    near(weights[3][0], 0.5);
    let trades: Vec<f64> = backtest.trades.iter().map(|trade| trade.shares).collect();
    assert_eq!(trades, [50.0, 50.0, -12.5, 25.0, -37.5, -75.0]);
    // The positions of a day are what is not empty.
    assert_eq!(backtest.positions().count(), 8);
    assert_eq!(backtest.positions().next().unwrap().session, day(1));
}

/// Each decision moves half of the portfolio, for two decisions.
#[test]
fn holdings_overlap() {
    let market = market(vec![name("A", &[10.0; 8]), name("B", &[10.0; 8])]);
    let config = Config { decide_every: 1, ..config(8) };
    let script = vec![vec![1.0, 0.0], vec![0.0, 1.0], vec![0.0, 1.0], vec![0.0, 0.0]];
    let backtest = books(&market, &mut Scripted(script, 0), &config);
    let weights: Vec<&[f64]> = backtest.weights().unwrap().days().collect();
    let expected = [[0.0, 0.0], [0.5, 0.0], [0.5, 0.5], [0.0, 1.0], [0.0, 0.5], [0.0, 0.0]];
    assert_eq!(weights[..6], expected.each_ref().map(|day| &day[..]));
}

#[test]
fn short_positions_gain_when_prices_fall_and_pay_their_fee() {
    let market = market(vec![name("A", &[10.0, 10.0, 5.0, 5.0])]);
    let mut config = config(4);
    let free = books(&market, &mut Scripted::always(&[-1.0]), &config);
    near(*free.equity.last().unwrap(), 1.5);
    config.costs.borrow_bps = 252.0;
    let lent = books(&market, &mut Scripted::always(&[-1.0]), &config);
    // A basis point of 1000 for the first night and of 500 for the second.
    near(lent.totals().borrow, 0.15);
    near(*lent.equity.last().unwrap(), 1.49985);
}

#[test]
fn cash_earns_its_rate() {
    let market = market(vec![name("A", &[10.0; 4])]);
    let config = Config { cash_rate: 0.252, ..config(4) };
    let backtest = books(&market, &mut Scripted::always(&[0.0]), &config);
    // Four sessions have three nights between them.
    near(*backtest.equity.last().unwrap(), 1.001_f64.powi(3));
}

#[test]
fn splits_and_dividends_reach_who_holds() {
    let history = with_action(name("A", &[20.0, 20.0, 10.0, 10.0]), 2, ActionKind::Split(2.0));
    let history = with_action(history, 2, ActionKind::Dividend(1.0));
    let config = Config { horizon: 3, decide_every: 3, ..config(4) };
    let backtest = books(&market(vec![history]), &mut BuyAndHold::default(), &config);
    // 50 shares get a dividend of 1 each, then become 100.
    near(backtest.totals().dividends, 50.0);
    near(*backtest.equity.last().unwrap(), 1.05);
    assert_eq!(backtest.trades[1].shares, -100.0);
}

#[test]
fn a_name_that_leaves_is_paid_out() {
    let config = Config { horizon: 11, decide_every: 11, ..config(12) };
    let gone = |history: History, config: &Config| {
        let market = market(vec![history, name("B", &[10.0; 12])]);
        let backtest = books(&market, &mut EqualWeight, config);
        let paid = *backtest.trades.iter().find(|t| t.kind == TradeKind::Delisting).unwrap();
        (paid.session, paid.price, *backtest.equity.last().unwrap())
    };
    // Nobody says what became of it: its last close, less a loss that is assumed.
    let ended = name("A", &[10.0, 10.0, 8.0]);
    assert_eq!(gone(ended.clone(), &config), (3, 8.0, 0.9));
    let careful = Config { delisting_return: -0.25, ..config.clone() };
    assert_eq!(gone(ended.clone(), &careful), (3, 6.0, 0.8));
    // Terms are terms.
    let merged = with_action(ended.clone(), 3, ActionKind::Delisting(Some(12.0)));
    assert_eq!(gone(merged, &careful), (3, 12.0, 1.1));
    // A source that is a few sessions late says nothing of an end.
    let late = market(vec![ended, name("B", &[10.0; 8])]);
    let config = Config { horizon: 7, decide_every: 7, end: day(7), ..careful };
    let backtest = books(&late, &mut EqualWeight, &config);
    assert!(backtest.trades.iter().all(|trade| trade.kind != TradeKind::Delisting));
    near(*backtest.equity.last().unwrap(), 0.9);
}

/// 5 % of 1,000 shares a day: an order of 120 takes three days, and what a later decision
/// no longer wants is not bought.
#[test]
fn orders_wait_for_volume() {
    let histories = || vec![with_volume(name("A", &[10.0; 8]), 1000.0)];
    let limits = Limits { adv_share: Some(0.05), ..Limits::default() };
    let config = Config { capital: 1200.0, horizon: 6, decide_every: 6, limits, ..config(8) };
    let backtest = books(&market(histories()), &mut BuyAndHold::default(), &config);
    let bought: Vec<(usize, f64)> =
        backtest.trades.iter().map(|trade| (trade.session, trade.shares)).collect();
    assert_eq!(bought, [(1, 50.0), (2, 50.0), (3, 20.0), (7, -120.0)]);
    let config = Config { horizon: 2, decide_every: 2, ..config };
    let script = vec![vec![1.0], vec![0.0]];
    let backtest = books(&market(histories()), &mut Scripted(script, 0), &config);
    let traded: Vec<(usize, f64)> =
        backtest.trades.iter().map(|trade| (trade.session, trade.shares)).collect();
    assert_eq!(traded, [(1, 50.0), (2, 50.0), (3, -50.0), (4, -50.0)]);
    // 5 % of 10,000 a day for the whole of the capital.
    assert_eq!(backtest.capacity, [500.0]);
}

#[test]
fn orders_wait_for_a_session() {
    let market = market(vec![name("A", &[10.0, 0.0, 12.0, 12.0]), name("B", &[10.0; 4])]);
    let config = Config { horizon: 3, decide_every: 3, ..config(4) };
    let backtest = books(&market, &mut Scripted::always(&[1.0, 0.0]), &config);
    // Sized at the last close there was, paid at the next one.
    let bought = backtest.trades[0];
    assert_eq!((bought.session, bought.shares, bought.price), (2, 100.0, 12.0));
}

#[test]
fn impact_is_two_thirds_of_its_peak() {
    let closes: Vec<f64> = (0..80).map(|i| if i % 2 == 0 { 10.0 } else { 10.1 }).collect();
    let market = market(vec![with_volume(name("A", &closes), 400.0)]);
    let costs = Costs { impact: 1.0, ..Costs::proportional(0.0) };
    let config = Config {
        start: day(70),
        costs,
        capital: 1010.0,
        horizon: 9,
        decide_every: 9,
        ..config(80)
    };
    let bought = books(&market, &mut BuyAndHold::default(), &config).trades[0];
    assert_eq!((bought.session, bought.shares), (1, 100.0));
    let returns: Vec<f64> = closes.windows(2).map(|pair| pair[1] / pair[0] - 1.0).collect();
    let known = &returns[70 - 60..70];
    let mean = known.iter().sum::<f64>() / 60.0;
    let deviation = (known.iter().map(|r| (r - mean).powi(2)).sum::<f64>() / 59.0).sqrt();
    let traded: Vec<f64> = closes[71 - 21..71].iter().map(|close| close * 400.0).collect();
    let average = traded.iter().sum::<f64>() / 21.0;
    let expected = 1010.0 * 2.0 / 3.0 * deviation * (1010.0 / average).sqrt();
    assert!((bought.costs.impact / expected - 1.0).abs() < 1e-9, "{bought:?} {expected}");
    // Y sigma sqrt(Q / ADV): a quarter of the volume moves the price by half a sigma.
    assert_eq!(peak_impact(1.0, 0.02, 25.0, 100.0), Some(0.01));
    assert_eq!(peak_impact(1.0, 0.02, 25.0, 0.0), None);
}

#[test]
fn spreads_are_those_of_the_name() {
    let mut narrow = name("A", &[10.0; 4]);
    narrow.half_spread_bps = Some(1.0);
    let market = market(vec![narrow, name("B", &[10.0; 4])]);
    let costs = Costs { half_spread_bps: 5.0, ..Costs::proportional(2.0) };
    let config = Config { costs, horizon: 3, decide_every: 3, ..config(4) };
    let backtest = books(&market, &mut EqualWeight, &config);
    near(backtest.trades[0].costs.spread, 0.05);
    near(backtest.trades[1].costs.spread, 0.25);
    near(backtest.trades[1].costs.commission, 0.1);
}

#[test]
fn limits_cut_weights_and_leave_cash() {
    let of_sector = |ticker: &str, sector: &str| {
        let mut history = name(ticker, &[10.0; 4]);
        history.sector = Some(sector.to_owned());
        history
    };
    let market =
        market(vec![of_sector("A", "Energy"), of_sector("B", "Energy"), of_sector("C", "Health")]);
    let limits = Limits { position: Some(0.4), sector: Some(0.6), adv_share: None };
    let config = Config { limits, horizon: 3, decide_every: 3, ..config(4) };
    let backtest = books(&market, &mut Scripted::always(&[0.5, -0.4, 0.3]), &config);
    let weights = backtest.weights().unwrap().days().nth(1).unwrap();
    for (weight, expected) in weights.iter().zip([0.3, -0.3, 0.3]) {
        near(*weight, expected);
    }
}

#[test]
fn whole_shares_are_rounded_towards_none() {
    let market = market(vec![name("A", &[30.0; 4]), name("B", &[30.0; 4])]);
    let config = Config { whole_shares: true, horizon: 3, decide_every: 3, ..config(4) };
    let backtest = books(&market, &mut Scripted::always(&[0.5, -0.5]), &config);
    let shares: Vec<f64> = backtest.trades[..2].iter().map(|trade| trade.shares).collect();
    assert_eq!(shares, [16.0, -16.0]);
}

#[test]
fn the_days_of_decision_are_those_a_strategy_is_asked_on() {
    struct Asked(Vec<(NaiveDate, Vec<Ticker>)>);
    impl Strategy for Asked {
        fn name(&self) -> String {
            "asked".to_owned()
        }
        fn decide(&mut self, frame: &Frame<'_>, _: &mut [f64]) -> Choice {
            let listed = (0..frame.width()).filter(|name| frame.is_listed(*name));
            let tickers = listed.filter_map(|name| frame.ticker(name).cloned()).collect();
            self.0.push((frame.session(), tickers));
            Choice::Keep
        }
    }
    let market = market(vec![name("A", &[10.0; 9]), name("B", &[0.0, 0.0, 9.0, 9.0, 9.0])]);
    for delay in [1, 3] {
        let mut asked = Asked(Vec::new());
        let config = Config { delay, ..config(9) };
        run(&market, &mut asked, &config, Detail::Equity).unwrap();
        let days = decision_days(&market, &config).unwrap().into_iter();
        let days: Vec<_> =
            days.map(|(day, names)| (day, names.into_iter().cloned().collect())).collect();
        assert_eq!(asked.0, days);
    }
}

#[test]
fn what_cannot_be_run_says_why() {
    let fine = || name("A", &[10.0; 6]);
    let error = |histories, config: &Config| {
        let market = market(histories);
        run(&market, &mut EqualWeight, config, Detail::Equity).unwrap_err().to_string()
    };
    let impact = Costs { impact: 1.0, ..Costs::proportional(0.0) };
    assert_eq!(
        error(vec![fine()], &Config { costs: impact, ..config(6) }),
        "market impact needs volumes, which A has none of in this universe: leave it out, and give \
         costs as cost_bps"
    );
    let limits = Limits { sector: Some(0.2), ..Limits::default() };
    assert!(
        error(vec![fine()], &Config { limits, ..config(6) })
            .starts_with("a limit by sector needs a sector, which A has none of")
    );
    assert_eq!(
        error(vec![fine()], &Config { end: day(9), ..config(6) }),
        "2001-01-10 is outside the sessions of universe TEST, 2001-01-01 to 2001-01-06"
    );
    assert_eq!(
        error(vec![fine()], &config(2)),
        "the span has 2 sessions, fewer than the 3 that a decision, its trade and a day after it \
         take: widen it"
    );
    let twice = Market::new(crate::markets::source(), vec![fine(), fine()]).unwrap_err();
    assert_eq!(twice.to_string(), "A occurs twice among the names: give each name one history");
    let bad = Market::new(crate::markets::source(), vec![name("A", &[1.0, f64::INFINITY])]);
    assert!(bad.unwrap_err().to_string().starts_with("A, session 2001-01-02: a close is not"));
    let market = market(vec![fine()]);
    let nan = run(&market, &mut Scripted::always(&[f64::NAN]), &config(6), Detail::Equity);
    assert!(matches!(nan, Err(BacktestError::BadWeight { .. })), "{nan:?}");
}
