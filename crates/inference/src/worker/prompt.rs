//! From texts to tokens.
//!
//! The markers of the chat template are control tokens; the texts between them
//! never are, whatever they contain.

use std::sync::Arc;

use llama_cpp_2::{model::LlamaModel, token::LlamaToken};

use crate::model::ChatTemplate;

/// Writes conversations in the tokens of one model.
pub(super) struct Prompts {
    model: Arc<LlamaModel>,
    turn_start: LlamaToken,
    turn_end: LlamaToken,
}

impl Prompts {
    pub(super) fn new(model: Arc<LlamaModel>, template: ChatTemplate) -> Result<Self, String> {
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
    pub(super) fn system(&self, text: &str) -> Vec<LlamaToken> {
        let mut tokens = vec![self.turn_start];
        tokens.extend(self.text(&format!("system\n{text}")));
        tokens.push(self.turn_end);
        tokens.extend(self.text("\n"));
        tokens
    }

    /// The user's turn and the opening of the assistant's.
    pub(super) fn turns(&self, user: &str) -> Vec<LlamaToken> {
        let mut tokens = vec![self.turn_start];
        tokens.extend(self.text(&format!("user\n{user}")));
        tokens.push(self.turn_end);
        tokens.extend(self.text("\n"));
        tokens.push(self.turn_start);
        tokens.extend(self.text("assistant\n"));
        tokens
    }

    /// The token of a character, if it is a single one.
    pub(super) fn code(&self, code: char) -> Option<LlamaToken> {
        match self.text(&code.to_string())[..] {
            [token] => Some(token),
            _ => None,
        }
    }

    /// The tokens of a text, none of them a control token.
    pub(super) fn text(&self, text: &str) -> Vec<LlamaToken> {
        self.model.vocab().tokenize(text.as_bytes(), false, false)
    }
}
