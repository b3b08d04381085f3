//! Whether a phrase is one that serving's decoder can write.

use std::collections::BTreeMap;

use anyhow::{Context as _, anyhow, ensure};
use contract::{Pick, Plan};
use llguidance::{Matcher, ParserFactory, api::TopLevelGrammar};
use toktrie::{ApproximateTokEnv, TokEnv};

/// Runs the grammars of plans over bytes: what they accept byte by byte, they accept in
/// the tokens of any model that can spell it.
pub(crate) struct Acceptor {
    factory: ParserFactory,
    /// Verdicts by grammar and text; a corpus has some hundreds of them.
    known: BTreeMap<(String, String), bool>,
}

impl Acceptor {
    /// Prepares the byte-level tokenizer.
    pub(crate) fn new() -> anyhow::Result<Self> {
        let environment: TokEnv = ApproximateTokEnv::single_byte_env();
        let mut factory = ParserFactory::new_simple(&environment)?;
        factory.quiet();
        Ok(Self { factory, known: BTreeMap::new() })
    }

    /// Checks every text of a thesis against the grammar of its rule.
    ///
    /// # Errors
    /// Names the first text that serving could not have written.
    pub(crate) fn check(&mut self, plan: &Plan, picks: &[Vec<Pick>]) -> anyhow::Result<()> {
        for (section, picks) in plan.sections.iter().zip(picks) {
            for (pick, range) in picks.iter().zip(&section.claims) {
                ensure!(range.contains(&pick.choice), "a claim cites what it may not");
                let rule = section.choices[pick.choice].rule.as_deref();
                let is_accepted = match rule {
                    None => pick.text.is_empty(),
                    Some(rule) => self.accepts(plan.grammar(rule), &pick.text)?,
                };
                ensure!(
                    is_accepted,
                    "the serving grammar does not accept {:?} by rule {}",
                    pick.text,
                    rule.unwrap_or("none")
                );
            }
        }
        Ok(())
    }

    /// Returns how many different texts were checked.
    pub(crate) fn distinct(&self) -> usize {
        self.known.len()
    }

    /// Tells whether a grammar accepts a text.
    ///
    /// # Errors
    /// Fails where the grammar does not compile.
    pub(crate) fn accepts(&mut self, grammar: String, text: &str) -> anyhow::Result<bool> {
        let key = (grammar, text.to_owned());
        if let Some(verdict) = self.known.get(&key) {
            return Ok(*verdict);
        }
        let parser = self.factory.create_parser(TopLevelGrammar::from_lark(key.0.clone()));
        let mut matcher = Matcher::new(parser);
        if let Some(message) = matcher.get_error() {
            return Err(anyhow!(message)).context("a rule of the plan does not compile");
        }
        let bytes: Vec<u32> = text.bytes().map(u32::from).collect();
        let verdict = matcher.consume_tokens(&bytes).is_ok() && matcher.is_accepting()?;
        self.known.insert(key, verdict);
        Ok(verdict)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_texts_are_not_accepted() {
        let mut acceptor = Acceptor::new().unwrap();
        let grammar = "start: A\nA: \", \" (\"up\" | \"upward\") \".\"\n";
        for (text, expected) in [
            (", up.", true),
            (", upward.", true),
            (", up", false),
            (", down.", false),
            (", up. And more.", false),
            ("", false),
        ] {
            assert_eq!(acceptor.accepts(grammar.to_owned(), text).unwrap(), expected, "{text}");
        }
        assert_eq!(acceptor.distinct(), 6);
        assert!(acceptor.accepts("start: B\n\n".to_owned(), "x").is_err());
    }
}
