//! A strategy that looks ahead is not a program: each file plants one way to try, and the
//! text beside it is what the compiler answers. The strategies of the other tests are the
//! same with what is known, and compile.

#[test]
fn a_strategy_cannot_reach_the_future() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/backtest/look_ahead/negative_lag.rs");
    cases.compile_fail("tests/backtest/look_ahead/later_frame.rs");
    cases.compile_fail("tests/backtest/look_ahead/market_of_frame.rs");
    cases.compile_fail("tests/backtest/look_ahead/prices_of_market.rs");
    cases.compile_fail("tests/backtest/look_ahead/kept_frame.rs");
    cases.compile_fail("tests/backtest/look_ahead/later_decisions.rs");
}
