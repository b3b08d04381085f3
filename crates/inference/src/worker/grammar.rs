//! Grammars of llguidance over the vocabulary of the model.

use std::{collections::VecDeque, sync::Arc};

use llama_cpp_2::{model::LlamaModel, token::LlamaToken};
use llguidance::{Matcher, ParserFactory, api::TopLevelGrammar, earley::SlicedBiasComputer};
use toktrie::{InferenceCapabilities, TokEnv, TokRxInfo, TokTrie, TokenId, TokenizerEnv};

use crate::error::InferenceError;

/// Compiled grammars kept for requests with the same text: more than there are rules.
const CACHED_GRAMMARS: usize = 128;

/// Compiles grammars. Lives in the intake thread.
pub struct Grammars {
    factory: ParserFactory,
    /// Most recently used last.
    cache: VecDeque<(String, Matcher)>,
}

/// The model's own tokenizer. Being canonical, it lets llguidance return runs
/// of forced tokens; llama-cpp-2's environment is not, and returns none.
struct Tokenizer {
    trie: TokTrie,
    model: Arc<LlamaModel>,
}

impl TokenizerEnv for Tokenizer {
    fn tok_trie(&self) -> &TokTrie {
        &self.trie
    }

    fn tokenize_bytes(&self, bytes: &[u8]) -> Vec<TokenId> {
        self.trie.tokenize_with_greedy_fallback(bytes, |text| {
            let tokens = self.model.vocab().tokenize(text.as_bytes(), false, false);
            tokens.into_iter().map(|token| token.0.unsigned_abs()).collect()
        })
    }

    fn tokenize_is_canonical(&self) -> bool {
        true
    }
}

impl Grammars {
    /// Indexes the vocabulary, which takes a tenth of a second.
    ///
    /// # Errors
    /// Fails when the vocabulary has no token that ends a turn.
    pub fn new(model: &Arc<LlamaModel>) -> Result<Self, String> {
        let environment: TokEnv =
            Arc::new(Tokenizer { trie: trie(model)?, model: Arc::clone(model) });
        let capabilities =
            InferenceCapabilities { ff_tokens: true, ..InferenceCapabilities::default() };
        let slices = SlicedBiasComputer::json_slices();
        let mut factory = ParserFactory::new(&environment, capabilities, &slices)
            .map_err(|error| error.to_string())?;
        factory.quiet();
        factory.limits_mut().verbose_errors = false;
        Ok(Self { factory, cache: VecDeque::with_capacity(CACHED_GRAMMARS) })
    }

    /// Compiles a grammar, about 1 ms, or copies the one compiled before.
    ///
    /// # Errors
    /// Fails when the grammar does not compile.
    pub fn matcher(&mut self, grammar: &str) -> Result<Matcher, InferenceError> {
        let known = self.cache.iter().position(|(text, _)| text == grammar);
        if let Some(entry) = known.and_then(|at| self.cache.remove(at)) {
            let matcher = entry.1.deep_clone();
            self.cache.push_back(entry);
            return Ok(matcher);
        }
        let parser = self.factory.create_parser(TopLevelGrammar::from_lark(grammar.to_owned()));
        let matcher = Matcher::new(parser);
        if let Some(message) = matcher.get_error() {
            return Err(grammar_error(&message));
        }
        if self.cache.len() == CACHED_GRAMMARS {
            self.cache.pop_front();
        }
        self.cache.push_back((grammar.to_owned(), matcher.deep_clone()));
        Ok(matcher)
    }
}

/// Keeps the first line of a message of llguidance.
pub(super) fn grammar_error(message: &str) -> InferenceError {
    InferenceError::Grammar { detail: message.lines().next().unwrap_or_default().to_owned() }
}

/// The token that ends an assistant's turn.
#[must_use]
pub fn end_of_turn(model: &LlamaModel) -> LlamaToken {
    let vocab = model.vocab();
    let end = vocab.eot();
    if end.0 >= 0 { end } else { vocab.eos() }
}

fn trie(model: &LlamaModel) -> Result<TokTrie, String> {
    let vocab = model.vocab();
    let n_vocab = u32::try_from(vocab.n_tokens()).map_err(|error| error.to_string())?;
    let end = u32::try_from(end_of_turn(model).0)
        .map_err(|_| "the vocabulary has no token that ends a turn".to_owned())?;
    let words: Vec<Vec<u8>> = vocab
        .tokens()
        .map(|token| {
            let bytes = vocab.token_to_piece(token, false, None);
            if !bytes.is_empty() {
                return bytes;
            }
            // Control tokens have no text; a marker byte keeps them apart
            // from everything a grammar can spell.
            let name = vocab.token_to_piece(token, true, None);
            if name.is_empty() {
                return name;
            }
            [vec![TokTrie::SPECIAL_TOKEN_MARKER], name].concat()
        })
        .collect();
    Ok(TokTrie::from(&TokRxInfo::new(n_vocab, end), &words))
}
