//! From texts to tokens.
//!
//! The markers of the chat template are control tokens; the texts between them
//! never are, whatever they contain.

use std::sync::Arc;

use llama_cpp_2::{model::LlamaModel, token::LlamaToken};

use crate::model::ChatTemplate;

/// What follows the system prompt.
pub struct Turns {
    /// All of them.
    pub tokens: Vec<LlamaToken>,
    /// How many of them every ticker shares on that day.
    day_end: usize,
}

impl Turns {
    /// The tokens every ticker shares on that day.
    #[must_use]
    pub fn day(&self) -> &[LlamaToken] {
        &self.tokens[..self.day_end]
    }

    /// The tokens that are about the ticker.
    #[must_use]
    pub fn ticker(&self) -> &[LlamaToken] {
        &self.tokens[self.day_end..]
    }
}

/// Writes conversations in the tokens of one model.
pub struct Prompts {
    model: Arc<LlamaModel>,
    turn_start: LlamaToken,
    turn_end: LlamaToken,
}

impl Prompts {
    /// Looks up the markers of the chat template.
    ///
    /// # Errors
    /// Fails when the vocabulary lacks one.
    pub fn new(model: Arc<LlamaModel>, template: ChatTemplate) -> Result<Self, String> {
        let (start, end) = match template {
            ChatTemplate::Chatml => ("<|im_start|>", "<|im_end|>"),
        };
        let marker = |text: &str| {
            let tokens = model.vocab().tokenize(text.as_bytes(), false, true);
            match tokens[..] {
                [token] => Ok(token),
                _ => Err(format!("the vocabulary has no token {text}")),
            }
        };
        let (turn_start, turn_end) = (marker(start)?, marker(end)?);
        Ok(Self { model, turn_start, turn_end })
    }

    /// The prefix all requests share.
    #[must_use]
    pub fn system(&self, text: &str) -> Vec<LlamaToken> {
        let mut tokens = vec![self.turn_start];
        tokens.extend(self.text(&format!("system\n{text}")));
        tokens.push(self.turn_end);
        tokens.extend(self.text("\n"));
        tokens
    }

    /// The user's turn, which begins with the evidence of the day, and the opening of
    /// the assistant's.
    #[must_use]
    pub fn turns(&self, day: &str, user: &str) -> Turns {
        let mut tokens = vec![self.turn_start];
        tokens.extend(self.text(&format!("user\n{day}")));
        let day_end = tokens.len();
        tokens.extend(self.text(user));
        tokens.push(self.turn_end);
        tokens.extend(self.text("\n"));
        tokens.push(self.turn_start);
        tokens.extend(self.text("assistant\n"));
        Turns { tokens, day_end }
    }

    /// The token of a character, if it is a single one.
    #[must_use]
    pub fn code(&self, code: char) -> Option<LlamaToken> {
        match self.text(&code.to_string())[..] {
            [token] => Some(token),
            _ => None,
        }
    }

    /// The tokens of a text, none of them a control token.
    #[must_use]
    pub fn text(&self, text: &str) -> Vec<LlamaToken> {
        self.model.vocab().tokenize(text.as_bytes(), false, false)
    }
}
