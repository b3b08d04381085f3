//! A strategy that looks ahead is not a program: each file plants one way to try, and the
//! text beside it is what the compiler answers.

#[test]
fn a_strategy_cannot_reach_the_future() {
    let cases = trybuild::TestCases::new();
    // The same strategy with what is known: if this did not compile, the others would
    // prove nothing.
    cases.pass("tests/backtest/look_ahead/looks_back.rs");
    cases.compile_fail("tests/backtest/look_ahead/negative_lag.rs");
    cases.compile_fail("tests/backtest/look_ahead/later_frame.rs");
    cases.compile_fail("tests/backtest/look_ahead/market_of_frame.rs");
    cases.compile_fail("tests/backtest/look_ahead/prices_of_market.rs");
    cases.compile_fail("tests/backtest/look_ahead/kept_frame.rs");
    cases.compile_fail("tests/backtest/look_ahead/later_decisions.rs");
}
