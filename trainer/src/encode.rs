//! From texts of serving to a batch, in the tokens and under the masks of serving.

use std::{path::Path, sync::Arc};

use anyhow::{Context as _, anyhow, bail, ensure};
use contract::{phrase_grammar, system_prompt};
use gradients::{AllowedTokens, Batch, SegmentId, Target};
use inference::{
    model::ChatTemplate,
    serving::{Grammars, Prompts, end_of_turn},
};
use llama_cpp_2::{
    model::{LlamaModel, params::LlamaModelParams},
    token::LlamaToken,
};

use crate::{
    corpus::{Completion, Example, Freedom, Piece},
    llama::backend,
};

/// What a target decides, for losses of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ChoiceKind {
    /// Which evidence a claim cites.
    Evidence,
    /// How a claim reads its evidence.
    Phrase,
    /// The label.
    Decision,
}

impl ChoiceKind {
    /// Returns the name in metrics.
    pub(crate) const fn key(self) -> &'static str {
        match self {
            Self::Evidence => "evidence",
            Self::Phrase => "phrase",
            Self::Decision => "decision",
        }
    }
}

/// A batch, and what is asked at each of its targets.
pub(crate) struct Encoded {
    /// The prompt, and its branches.
    pub(crate) batch: Batch,
    /// In the order of the targets.
    pub(crate) asked: Vec<Asked>,
}

/// What one target asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Asked {
    /// The sample its branch belongs to.
    pub(crate) sample: usize,
    /// What it decides.
    pub(crate) kind: ChoiceKind,
    /// Whether it is the [`Branch::alternative`].
    pub(crate) is_alternative: bool,
}

/// What a target adds to the loss.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Weight {
    /// Of -log p.
    pub(crate) choice: f32,
    /// Of -H.
    pub(crate) entropy: f32,
}

/// One token of a branch.
#[derive(Debug, Clone)]
struct Step {
    token: u32,
    /// The tokens that stood to choice; none where the token was forced.
    choice: Option<(ChoiceKind, AllowedTokens)>,
}

/// A continuation of a prompt, up to its last choice.
#[derive(Debug, Clone)]
struct Branch {
    sample: usize,
    steps: Vec<Step>,
    /// A token that is asked for besides the one that was chosen last.
    alternative: Option<u32>,
}

/// A prompt and its branches in tokens.
#[derive(Debug, Clone)]
pub(crate) struct Traced {
    prompt: Vec<u32>,
    branches: Vec<Branch>,
}

/// What the model did in one completion.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Written<'a> {
    /// Number of the sample it is part of.
    pub(crate) sample: usize,
    /// The texts, and where there was a choice.
    pub(crate) completion: &'a Completion,
    /// The tokens of its phrase as they were sampled.
    pub(crate) phrase: &'a [u32],
    /// A letter that is asked for besides the one that was chosen last.
    pub(crate) alternative: Option<char>,
}

/// The tokens a phrase is followed by: those of a text, or those that were sampled.
enum Spelling<'a> {
    Text(&'a [u8]),
    Tokens(&'a [u32]),
}

/// Writes examples in the tokens of one model.
pub(crate) struct Encoder {
    model: Arc<LlamaModel>,
    prompts: Prompts,
    grammars: Grammars,
    system: Vec<LlamaToken>,
    context_tokens: usize,
}

impl Encoder {
    /// Loads the vocabulary of a model file that was checked.
    ///
    /// # Errors
    /// Fails when llama.cpp refuses it, or it lacks the markers of the template.
    pub(crate) fn load(
        path: &Path,
        template: ChatTemplate,
        context_tokens: usize,
    ) -> anyhow::Result<Self> {
        let params = LlamaModelParams::default().with_vocab_only(true);
        let model = LlamaModel::load_from_file(backend()?, path, &params)
            .with_context(|| format!("{} cannot be loaded", path.display()))?;
        let model = Arc::new(model);
        let prompts = Prompts::new(Arc::clone(&model), template).map_err(|e| anyhow!(e))?;
        let grammars = Grammars::new(&model).map_err(|e| anyhow!(e))?;
        let system = prompts.system(system_prompt());
        Ok(Self { model, prompts, grammars, system, context_tokens })
    }

    /// Refuses examples that do not fit the context, before one stops a run.
    ///
    /// # Errors
    /// Names the longest and what to set.
    pub(crate) fn check_lengths<'a>(
        &self,
        examples: impl Iterator<Item = &'a Example>,
    ) -> anyhow::Result<()> {
        let lengths = examples.map(|example| (self.length(example), example));
        let too_long: Vec<_> = lengths.filter(|(n, _)| *n > self.context_tokens).collect();
        let Some((n, example)) = too_long.iter().max_by_key(|(n, _)| *n) else { return Ok(()) };
        bail!(
            "{} examples are longer than backbone.context_tokens of {}: the longest, {} at {}, takes \
             {n}; set it to that or more",
            too_long.len(),
            self.context_tokens,
            example.ticker,
            example.as_of
        )
    }

    /// Tokens of the prompt and the longest completion, up to its last choice. A phrase counts
    /// whole: at most some tokens more than what is encoded.
    fn length(&self, example: &Example) -> usize {
        let tokens = |piece: &Piece| match piece.freedom {
            Freedom::Among(_) => 1,
            Freedom::Forced | Freedom::Rule(_) => self.prompts.text(&piece.text).len(),
        };
        let is_choice = |piece: &Piece| !matches!(piece.freedom, Freedom::Forced);
        let completion = |completion: &Completion| -> usize {
            let chosen = completion.pieces.iter().rposition(is_choice).map_or(0, |last| last + 1);
            completion.pieces[..chosen].iter().map(tokens).sum()
        };
        let longest = example.completions.iter().map(completion).max().unwrap_or(0);
        self.prompt(&example.day, &example.user).len() + longest
    }

    fn prompt(&self, day: &str, user: &str) -> Vec<LlamaToken> {
        let mut prompt = self.system.clone();
        prompt.extend(self.prompts.turns(day, user).tokens);
        prompt
    }

    /// Encodes an example; the targets together weigh `weight`.
    ///
    /// # Errors
    /// Fails when a text is not one that serving could have written, or prompt and a
    /// completion are longer than the context.
    pub(crate) fn encode(&mut self, example: &Example, weight: f32) -> anyhow::Result<Encoded> {
        let mut branches = Vec::new();
        for completion in &example.completions {
            let steps = self.steps(completion, None)?;
            branches.extend(Branch::new(0, steps, None));
        }
        let traced = self.traced(&example.day, &example.user, branches);
        let traced = traced.with_context(|| format!("{} at {}", example.ticker, example.as_of))?;
        #[allow(clippy::cast_precision_loss, reason = "some hundred tokens")]
        let choice = weight / traced.choices(0).max(1) as f32;
        traced.batch(|_, _| Weight { choice, entropy: 0.0 })
    }

    /// Traces completions of one prompt as the decoder has written them.
    ///
    /// # Errors
    /// Fails when tokens are not those that serving could have sampled, or prompt and a
    /// completion are longer than the context.
    pub(crate) fn trace(
        &mut self,
        day: &str,
        user: &str,
        written: &[Written<'_>],
    ) -> anyhow::Result<Traced> {
        let mut branches = Vec::new();
        for written in written {
            let steps = self.steps(written.completion, Some(written.phrase))?;
            let alternative = written.alternative.map(|code| self.code(code)).transpose()?;
            branches.extend(Branch::new(written.sample, steps, alternative));
        }
        self.traced(day, user, branches)
    }

    fn traced(&self, day: &str, user: &str, branches: Vec<Branch>) -> anyhow::Result<Traced> {
        let prompt = self.prompt(day, user);
        let longest = branches.iter().map(|branch| branch.steps.len()).max().unwrap_or(0);
        ensure!(
            prompt.len() + longest <= self.context_tokens,
            "prompt and completion take {} tokens, more than backbone.context_tokens of {}",
            prompt.len() + longest,
            self.context_tokens
        );
        Ok(Traced { prompt: ids(&prompt), branches })
    }

    /// The steps of a completion, its phrase in the tokens it was sampled in, if it was.
    fn steps(
        &mut self,
        completion: &Completion,
        phrase: Option<&[u32]>,
    ) -> anyhow::Result<Vec<Step>> {
        let kind =
            if completion.section.is_none() { ChoiceKind::Decision } else { ChoiceKind::Evidence };
        let mut steps = Vec::new();
        for piece in &completion.pieces {
            match &piece.freedom {
                Freedom::Forced => {
                    let tokens = ids(&self.prompts.text(&piece.text));
                    steps.extend(tokens.into_iter().map(|token| Step { token, choice: None }));
                }
                Freedom::Among(codes) => {
                    let allowed = codes.iter().map(|code| self.code(*code));
                    let allowed = allowed.collect::<anyhow::Result<Vec<_>>>()?;
                    let mut chars = piece.text.chars();
                    let (Some(first), None) = (chars.next(), chars.next()) else {
                        bail!("{:?} is not a code", piece.text);
                    };
                    let choice = Some((kind, AllowedTokens::from_tokens(&allowed)));
                    steps.push(Step { token: self.code(first)?, choice });
                }
                Freedom::Rule(rule) => {
                    let spelling =
                        phrase.map_or(Spelling::Text(piece.text.as_bytes()), Spelling::Tokens);
                    self.rule_steps(rule, spelling, &mut steps)?;
                }
            }
        }
        Ok(steps)
    }

    fn code(&self, code: char) -> anyhow::Result<u32> {
        let token = self.prompts.code(code);
        let token = token.with_context(|| format!("the vocabulary has no token {code:?}"))?;
        Ok(token.0.unsigned_abs())
    }

    /// Follows a phrase through the grammar of its rule as serving's branches do: runs
    /// without choice are forced, the rest is chosen under the mask.
    fn rule_steps(
        &mut self,
        rule: &str,
        mut left: Spelling<'_>,
        steps: &mut Vec<Step>,
    ) -> anyhow::Result<()> {
        let refuse = || anyhow!("serving's grammar does not accept the phrase by rule {rule}");
        let grammar = phrase_grammar(rule)
            .with_context(|| format!("there is no rule {rule}: make the corpus anew"))?;
        let mut matcher = self.grammars.matcher(&grammar)?;
        let end = end_of_turn(&self.model).0.unsigned_abs();
        loop {
            let forced = matcher.compute_ff_tokens();
            if !forced.is_empty() {
                matcher.consume_tokens(&forced)?;
            }
            for token in forced {
                ensure!(self.follow(&mut left, token), refuse());
                steps.push(Step { token, choice: None });
            }
            if matcher.is_stopped() {
                break;
            }
            let mask = matcher.compute_mask()?;
            let token = self.next(&left).unwrap_or(end);
            ensure!(mask.is_allowed(token), refuse());
            matcher.consume_token(token)?;
            let is_choice = mask.num_set() > 1;
            let allowed = || (ChoiceKind::Phrase, AllowedTokens::from_words(mask.as_slice()));
            steps.push(Step { token, choice: is_choice.then(allowed) });
            if token == end {
                self.follow(&mut left, end);
                break;
            }
            ensure!(self.follow(&mut left, token), refuse());
        }
        ensure!(left.is_empty(), refuse());
        Ok(())
    }

    /// The next token of a phrase; none at its end.
    fn next(&self, left: &Spelling<'_>) -> Option<u32> {
        match left {
            Spelling::Text(text) => {
                let text = std::str::from_utf8(text).ok()?;
                ids(&self.prompts.text(text)).first().copied()
            }
            Spelling::Tokens(tokens) => tokens.first().copied(),
        }
    }

    /// Goes on after a token, if it is the phrase's next.
    fn follow(&self, left: &mut Spelling<'_>, token: u32) -> bool {
        match left {
            Spelling::Text(text) => {
                let Ok(id) = i32::try_from(token) else { return false };
                let piece = self.model.vocab().token_to_piece(LlamaToken(id), false, None);
                let rest = text.strip_prefix(&piece[..]);
                rest.map(|rest| *text = rest).is_some()
            }
            Spelling::Tokens(tokens) => match tokens.split_first() {
                Some((first, rest)) if *first == token => {
                    *tokens = rest;
                    true
                }
                _ => false,
            },
        }
    }
}

impl Spelling<'_> {
    fn is_empty(&self) -> bool {
        match self {
            Self::Text(text) => text.is_empty(),
            Self::Tokens(tokens) => tokens.is_empty(),
        }
    }
}

impl Branch {
    /// Leaves out what follows the last choice, which teaches nothing; none without any.
    fn new(sample: usize, mut steps: Vec<Step>, alternative: Option<u32>) -> Option<Self> {
        let last = steps.iter().rposition(|step| step.choice.is_some())?;
        steps.truncate(last + 1);
        Some(Self { sample, steps, alternative })
    }
}

impl Traced {
    /// Returns the number of choices of a sample, alternatives left out.
    pub(crate) fn choices(&self, sample: usize) -> usize {
        let own = self.branches.iter().filter(|branch| branch.sample == sample);
        own.flat_map(|branch| &branch.steps).filter(|step| step.choice.is_some()).count()
    }

    /// Makes a batch. `weigh` gets the number of each target, and what it asks.
    ///
    /// # Errors
    /// Fails when a token is none of those that stood to choice.
    pub(crate) fn batch(
        &self,
        mut weigh: impl FnMut(usize, Asked) -> Weight,
    ) -> anyhow::Result<Encoded> {
        let mut encoded = Encoded { batch: Batch::default(), asked: Vec::new() };
        // Its last token is what branches start from; each gets its own.
        let (start, prompt) = self.prompt.split_last().context("a prompt has tokens")?;
        let parent = encoded.batch.segment(None, prompt)?;
        for branch in &self.branches {
            let Some((last, others)) = branch.steps.split_last() else { continue };
            let mut read = vec![*start];
            read.extend(others.iter().map(|step| step.token));
            // Where the last choice has an alternative, the token before it is read twice:
            // a token has one target.
            let fork = if branch.alternative.is_some() { others.len() } else { 0 };
            let (before, end) = read.split_at(fork);
            let parent = match before {
                [] => parent,
                before => encoded.add(branch, parent, before, 0, &mut weigh)?,
            };
            encoded.add(branch, parent, end, fork, &mut weigh)?;
            if let (Some(token), Some(choice)) = (branch.alternative, &last.choice) {
                let segment = encoded.batch.segment(Some(parent), end)?;
                let asked = Asked { sample: branch.sample, kind: choice.0, is_alternative: true };
                encoded.ask((segment, end.len() - 1), token, choice, asked, &mut weigh)?;
            }
        }
        Ok(encoded)
    }
}

impl Encoded {
    /// Appends tokens that a branch reads, with the choices of its steps from `first`.
    fn add(
        &mut self,
        branch: &Branch,
        parent: SegmentId,
        read: &[u32],
        first: usize,
        weigh: &mut dyn FnMut(usize, Asked) -> Weight,
    ) -> anyhow::Result<SegmentId> {
        let segment = self.batch.segment(Some(parent), read)?;
        let steps = branch.steps.iter().skip(first).take(read.len());
        for (index, step) in steps.enumerate() {
            let Some(choice) = &step.choice else { continue };
            let asked = Asked { sample: branch.sample, kind: choice.0, is_alternative: false };
            self.ask((segment, index), step.token, choice, asked, weigh)?;
        }
        Ok(segment)
    }

    fn ask(
        &mut self,
        (segment, index): (SegmentId, usize),
        token: u32,
        (_, allowed): &(ChoiceKind, AllowedTokens),
        asked: Asked,
        weigh: &mut dyn FnMut(usize, Asked) -> Weight,
    ) -> anyhow::Result<()> {
        let Weight { choice: weight, entropy } = weigh(self.asked.len(), asked);
        let target = Target { token, weight, entropy, allowed: Some(allowed.clone()) };
        self.batch.target(segment, index, target)?;
        self.asked.push(asked);
        Ok(())
    }
}

fn ids(tokens: &[LlamaToken]) -> Vec<u32> {
    tokens.iter().map(|token| token.0.unsigned_abs()).collect()
}

#[cfg(test)]
mod tests;
