//! What one pass over the model computes: a tree of segments, and targets in it.

use std::rc::Rc;

use super::EngineError;

/// A segment of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentId(usize);

/// The tokens that stood to choice at a position, one bit each, as masks of
/// llguidance have them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedTokens(Rc<[u32]>);

impl AllowedTokens {
    /// Takes bit `t % 32` of word `t / 32` for token `t`.
    pub fn from_words(words: &[u32]) -> Self {
        Self(words.into())
    }

    /// Takes a list of tokens.
    pub fn from_tokens(tokens: &[u32]) -> Self {
        let last = tokens.iter().copied().max().unwrap_or(0) as usize;
        let mut words = vec![0; last / 32 + 1];
        for &token in tokens {
            words[token as usize / 32] |= 1 << (token % 32);
        }
        Self(words.into())
    }

    /// Tells whether a token stood to choice.
    pub fn contains(&self, token: usize) -> bool {
        self.0.get(token / 32).is_some_and(|word| word >> (token % 32) & 1 == 1)
    }
}

/// What is asked at a token: the loss is the sum over targets of
/// `-weight log p(token) - entropy H(p)`, where p is over the allowed tokens.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// The token that follows.
    pub token: u32,
    /// Its weight: 1/n for cross-entropy, an advantage for a policy gradient
    /// (Williams 1992, REINFORCE), 0 to only learn its log-probability.
    pub weight: f32,
    /// Weight of the entropy bonus.
    pub entropy: f32,
    /// The tokens that stood to choice; all of the vocabulary when none.
    pub allowed: Option<AllowedTokens>,
}

#[derive(Debug)]
struct Segment {
    parent: Option<usize>,
    /// Index of its first token in the batch, and the number of tokens.
    first: usize,
    len: usize,
    /// Position of its first token.
    position: usize,
}

/// Tokens of one pass. A segment sees itself up to each token, and all of the
/// segments it continues: a prompt and several completions share the prompt's keys.
///
/// Each token has one target at most. So that completions can start differently,
/// the last token of a prompt belongs to the completions, each with its own copy.
#[derive(Debug, Default)]
pub struct Batch {
    segments: Vec<Segment>,
    pub(super) tokens: Vec<i32>,
    pub(super) positions: Vec<i32>,
    /// In the order of tokens: the index of the token it stands at, and the target.
    pub(super) targets: Vec<(usize, Target)>,
}

impl Batch {
    /// Takes a text for its mean cross-entropy: what follows each token but the last, which is
    /// not computed.
    ///
    /// # Errors
    /// Fails when it has fewer than two tokens, or an id is not a token of any vocabulary.
    pub fn text(tokens: &[u32]) -> Result<Self, EngineError> {
        let (mut batch, n) = (Self::default(), tokens.len().saturating_sub(1));
        let segment = batch.segment(None, &tokens[..n])?;
        for (index, &token) in tokens.iter().skip(1).enumerate() {
            let target = Target { token, weight: 1.0 / n as f32, entropy: 0.0, allowed: None };
            batch.target(segment, index, target)?;
        }
        Ok(batch)
    }

    /// Appends tokens that continue `parent`, or start anew.
    ///
    /// # Errors
    /// Fails when there is no token, or an id is not a token of any vocabulary.
    pub fn segment(
        &mut self,
        parent: Option<SegmentId>,
        tokens: &[u32],
    ) -> Result<SegmentId, EngineError> {
        if tokens.is_empty() {
            return Err(EngineError::Batch { detail: "a segment has no tokens".into() });
        }
        let parent = parent.map(|id| id.0);
        let position = parent.map_or(0, |p| self.segments[p].position + self.segments[p].len);
        let first = self.tokens.len();
        for (i, &token) in tokens.iter().enumerate() {
            let token = i32::try_from(token)
                .map_err(|_| EngineError::Batch { detail: format!("{token} is not a token") })?;
            self.tokens.push(token);
            self.positions.push(i32::try_from(position + i).unwrap_or(i32::MAX));
        }
        self.segments.push(Segment { parent, first, len: tokens.len(), position });
        Ok(SegmentId(self.segments.len() - 1))
    }

    /// Asks for what follows token `index` of a segment.
    ///
    /// # Errors
    /// Fails when the segment has no such token, something was asked there or later
    /// before, or the target is not among the allowed tokens.
    pub fn target(
        &mut self,
        segment: SegmentId,
        index: usize,
        target: Target,
    ) -> Result<(), EngineError> {
        let refuse = |detail: String| Err(EngineError::Batch { detail });
        let Segment { first, len, .. } = self.segments[segment.0];
        let at = first + index;
        if index >= len || self.targets.last().is_some_and(|(last, _)| *last >= at) {
            return refuse(format!("target {index} of a segment of {len} is out of order"));
        }
        let token = target.token;
        if target.allowed.as_ref().is_some_and(|allowed| !allowed.contains(token as usize)) {
            return refuse(format!("token {token} is not among the allowed tokens"));
        }
        self.targets.push((at, target));
        Ok(())
    }

    /// Returns the number of tokens.
    #[allow(clippy::len_without_is_empty, reason = "nobody asks")]
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Returns the attention mask of `n` tokens, a row of `n` keys for each query: 0 where
    /// the query sees the key, minus infinity where not. What is beyond the batch sees itself
    /// alone.
    pub(super) fn mask(&self, n: usize) -> Vec<f32> {
        let mut mask = vec![f32::NEG_INFINITY; n * n];
        (self.len()..n).for_each(|beyond| mask[beyond * n + beyond] = 0.0);
        for segment in &self.segments {
            for i in 0..segment.len {
                let query = segment.first + i;
                let row = &mut mask[query * n..(query + 1) * n];
                row[segment.first..=query].fill(0.0);
                let mut ancestor = segment.parent;
                while let Some(index) = ancestor {
                    let Segment { parent, first, len, .. } = self.segments[index];
                    row[first..first + len].fill(0.0);
                    ancestor = parent;
                }
            }
        }
        mask
    }

    pub(super) fn check(&self, vocabulary: usize) -> Result<(), EngineError> {
        let targets = self.targets.iter().map(|(_, target)| target.token as usize);
        let tokens = self.tokens.iter().map(|&token| usize::try_from(token).unwrap_or(usize::MAX));
        match tokens.chain(targets).find(|&token| token >= vocabulary) {
            Some(token) => Err(EngineError::Batch {
                detail: format!("token {token} is beyond the vocabulary of {vocabulary}"),
            }),
            None if self.tokens.is_empty() => {
                Err(EngineError::Batch { detail: "it has no tokens".into() })
            }
            None => Ok(()),
        }
    }
}
