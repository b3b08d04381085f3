//! Decodes one thesis: prompt, choices, claims, decision.

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use contract::{Pick, Plan};
use llama_cpp_2::token::LlamaToken;
use llguidance::Matcher;
use toktrie::SimpleVob;

use super::{
    Work,
    branch::Branch,
    lane::{Feed, Lane, PROMPT},
    prompt::Turns,
    sampler::Sampler,
};
use crate::{
    engine::{Generation, Priority, Sampling, Timings, Usage, Written},
    error::InferenceError,
    protocol::{FromWorker, count},
};

/// A request that is tokenized and compiled.
pub(super) struct Prepared {
    pub(super) id: u64,
    pub(super) plan: Plan,
    pub(super) prompt: Turns,
    pub(super) sections: Vec<PreparedSection>,
    /// The rules' grammars, compiled once each.
    pub(super) matchers: BTreeMap<String, Matcher>,
    pub(super) codes: [LlamaToken; 5],
    pub(super) seed: u64,
    pub(super) sampling: Sampling,
    pub(super) max_tokens: u32,
    pub(super) priority: Priority,
    pub(super) received: Instant,
    pub(super) deadline: Instant,
    /// Set when nobody waits for the answer any more.
    pub(super) cancelled: Arc<AtomicBool>,
}

/// A section's plan in tokens.
pub(super) struct PreparedSection {
    pub(super) open: Vec<LlamaToken>,
    /// The codes of the choices.
    pub(super) codes: Vec<LlamaToken>,
    pub(super) claims: Vec<Range<usize>>,
    pub(super) is_silent: bool,
}

/// A claim: its section, what it cites, and the branch that writes it.
struct Claim {
    section: usize,
    position: usize,
    choice: usize,
    /// None where nothing is left to write.
    branch: Option<Branch>,
    /// Whether the front knows it.
    is_told: bool,
}

impl Claim {
    const fn new(section: usize, position: usize, choice: usize, branch: Option<Branch>) -> Self {
        Self { section, position, choice, branch, is_told: false }
    }

    fn pick(&self) -> Pick {
        let text = self.branch.as_ref().map(Branch::text).unwrap_or_default();
        Pick { choice: self.choice, text }
    }
}

/// The work on one request.
pub(super) struct Session<'a, 'model> {
    work: &'a Work<'a, 'model>,
    lane: &'a mut Lane<'model>,
    request: &'a Prepared,
    usage: Usage,
    timings: Timings,
    step_tokens: Vec<u32>,
}

impl<'a, 'model> Session<'a, 'model> {
    pub(super) fn new(
        work: &'a Work<'a, 'model>,
        lane: &'a mut Lane<'model>,
        request: &'a Prepared,
    ) -> Self {
        let (usage, timings) = (Usage::default(), Timings::default());
        Self { work, lane, request, usage, timings, step_tokens: Vec::new() }
    }

    /// Decodes the thesis; the lane must be reset afterwards, whatever happened.
    pub(super) fn run(mut self) -> Result<Generation, InferenceError> {
        if let Some(width) = &mut *self.work.width.borrow_mut() {
            width.begin();
        }
        let mut since = Instant::now();
        self.timings.queue_ms = milliseconds(self.request.received, since);
        let prefix = self.work.prefix;
        let kept = self.lane.load_prompt(prefix, &self.request.prompt, |tokens| {
            go_on(self.work, self.request, tokens, &mut self.step_tokens)
        })?;
        self.usage.prompt_tokens = count(self.request.prompt.tokens.len());
        self.usage.cached_tokens = count(kept);
        self.usage.prefix_tokens = prefix.tokens;
        self.timings.prefill_ms = lap(&mut since);
        let mut claims = self.choose()?;
        self.timings.choose_ms = lap(&mut since);
        self.write(&mut claims)?;
        self.timings.write_ms = lap(&mut since);
        let mut picks = vec![Vec::new(); self.request.sections.len()];
        let mut tokens = vec![Vec::new(); picks.len()];
        for claim in &claims {
            picks[claim.section].push(claim.pick());
            let written = claim.branch.as_ref().map(Branch::tokens).unwrap_or_default();
            tokens[claim.section].push(written.to_vec());
        }
        let code_logits = self.decide(&picks)?;
        self.timings.decide_ms = lap(&mut since);
        let Self { usage, timings, step_tokens, .. } = self;
        Ok(Generation { picks, tokens, code_logits, usage, timings, step_tokens })
    }

    /// Decodes the feeds; `after` gets the index and the logits of each.
    fn feed(
        &mut self,
        feeds: &[Feed<'_>],
        after: impl FnMut(usize, &[f32]) -> Result<(), InferenceError>,
    ) -> Result<(), InferenceError> {
        let before = |tokens| go_on(self.work, self.request, tokens, &mut self.step_tokens);
        self.lane.feed(feeds, before, after)
    }

    /// Opens a branch for each section and lets the model choose what to cite.
    fn choose(&mut self) -> Result<Vec<Claim>, InferenceError> {
        let request = self.request;
        let position = self.work.prompt_end(request);
        let mut openings = Vec::new();
        let mut claims = Vec::new();
        for (i, section) in request.sections.iter().enumerate() {
            if section.is_silent {
                claims.push(Claim::new(i, 0, 0, None));
            } else {
                openings.push((i, self.lane.fork(PROMPT)?));
            }
        }
        let feeds: Vec<Feed<'_>> = openings
            .iter()
            .map(|&(i, sequence)| {
                let tokens = &request.sections[i].open[..];
                Feed { sequence, position, tokens, logits: true }
            })
            .collect();
        let mut chosen = vec![Vec::new(); openings.len()];
        let n_vocab = self.work.model.n_vocab().unsigned_abs() as usize;
        self.feed(&feeds, |i, logits| {
            let section = openings[i].0;
            chosen[i] = choose(request, section, logits, n_vocab);
            Ok(())
        })?;
        for ((section, sequence), choices) in openings.into_iter().zip(chosen) {
            let prepared = &request.sections[section];
            let position = position + count(prepared.open.len());
            for (k, choice) in choices.into_iter().enumerate() {
                // The first claim goes on in the section's own branch.
                let sequence = if k == 0 { sequence } else { self.lane.fork(sequence)? };
                let rule = request.plan.sections[section].choices[choice].rule.as_ref();
                let matcher = rule.and_then(|rule| request.matchers.get(rule));
                let matcher = matcher.map(Matcher::deep_clone);
                let sampler = sampler(request, section, k + 1);
                let mut branch = Branch::new(
                    (sequence, position),
                    vec![prepared.codes[choice]],
                    matcher,
                    sampler,
                );
                branch.force(self.work.model, request.max_tokens, &mut self.usage)?;
                claims.push(Claim::new(section, k, choice, Some(branch)));
            }
        }
        // Silent sections were noted first.
        claims.sort_by_key(|claim| claim.section);
        Ok(claims)
    }

    /// Writes all claims, one run of tokens of each in a step.
    fn write(&mut self, claims: &mut [Claim]) -> Result<(), InferenceError> {
        let (model, max_tokens) = (self.work.model, self.request.max_tokens);
        let mut usage = self.usage;
        let mut mask_us = 0;
        loop {
            self.tell(claims);
            let mut writing: Vec<&mut Branch> = claims
                .iter_mut()
                .filter_map(|claim| claim.branch.as_mut())
                .filter(|branch| !branch.is_done())
                .collect();
            if writing.is_empty() {
                break;
            }
            let pending: Vec<(i32, u32, Vec<LlamaToken>)> = writing
                .iter_mut()
                .map(|branch| {
                    let at = (branch.sequence, branch.position, branch.pending.clone());
                    branch.decoded();
                    at
                })
                .collect();
            let feeds: Vec<Feed<'_>> = pending
                .iter()
                .map(|(sequence, position, tokens)| Feed {
                    sequence: *sequence,
                    position: *position,
                    tokens,
                    logits: true,
                })
                .collect();
            self.feed(&feeds, |i, logits| {
                let started = Instant::now();
                let advanced = writing[i].advance(logits, model, max_tokens, &mut usage);
                mask_us += u64::try_from(started.elapsed().as_micros()).unwrap_or(0);
                advanced
            })?;
        }
        self.usage = usage;
        self.timings.mask_us_total = mask_us;
        Ok(())
    }

    /// Tells the front of claims that are complete now.
    fn tell(&self, claims: &mut [Claim]) {
        let is_done = |claim: &Claim| claim.branch.as_ref().is_none_or(Branch::is_done);
        for claim in claims.iter_mut().filter(|claim| !claim.is_told && is_done(claim)) {
            let Claim { section, position, .. } = *claim;
            let written = Written { section, position, pick: claim.pick() };
            self.work.board.tell(&FromWorker::Written { id: self.request.id, claim: written });
            claim.is_told = true;
        }
    }

    /// Reads the decision's logits after the whole answer.
    fn decide(&mut self, picks: &[Vec<Pick>]) -> Result<[f32; 5], InferenceError> {
        let request = self.request;
        // Attention costs what the cells in use reach to.
        self.lane.drop_branches()?;
        let tokens = self.work.prompts.text(&request.plan.decision(picks));
        self.usage.decision_tokens = count(tokens.len());
        let position = self.work.prompt_end(request);
        let feed = Feed { sequence: PROMPT, position, tokens: &tokens, logits: true };
        let mut codes = [0.0; 5];
        self.feed(&[feed], |_, logits| {
            codes = request.codes.map(|LlamaToken(token)| logits[token.unsigned_abs() as usize]);
            Ok(())
        })?;
        Ok(codes)
    }
}

/// Chooses for each claim of a section what it cites, none twice: sampling
/// without replacement from the distribution over the codes.
fn choose(request: &Prepared, section: usize, logits: &[f32], n_vocab: usize) -> Vec<usize> {
    let PreparedSection { codes, claims, .. } = &request.sections[section];
    let mut sampler = sampler(request, section, 0);
    let mut chosen: Vec<usize> = Vec::with_capacity(claims.len());
    for range in claims {
        let mut allowed = SimpleVob::alloc(n_vocab);
        for i in range.clone().filter(|i| !chosen.contains(i)) {
            allowed.allow_token(codes[i].0.unsigned_abs());
        }
        let token = sampler.choose(logits, &allowed);
        let is_token = |i: &usize| Some(codes[*i].0.unsigned_abs()) == token;
        chosen.extend(range.clone().find(is_token));
    }
    chosen
}

/// The random numbers of one choice or claim: a stream of its own, so that they
/// do not depend on the order of work.
fn sampler(request: &Prepared, section: usize, part: usize) -> Sampler {
    Sampler::new(request.seed, (section * 16 + part) as u64, request.sampling)
}

/// Notes a step, chooses its threads, and ends the work when nobody waits for it any more.
fn go_on(
    work: &Work<'_, '_>,
    request: &Prepared,
    tokens: usize,
    step_tokens: &mut Vec<u32>,
) -> Result<(), InferenceError> {
    step_tokens.push(count(tokens));
    let is_alone = work.board.stepped(work.index, tokens);
    if let Some(width) = &mut *work.width.borrow_mut() {
        width.choose(tokens, is_alone);
    }
    if request.cancelled.load(Ordering::Relaxed) {
        return Err(InferenceError::Cancelled);
    }
    if request.deadline <= Instant::now() {
        return Err(InferenceError::DeadlineExceeded);
    }
    Ok(())
}

fn lap(since: &mut Instant) -> f32 {
    let now = Instant::now();
    milliseconds(std::mem::replace(since, now), now)
}

fn milliseconds(from: Instant, to: Instant) -> f32 {
    to.saturating_duration_since(from).as_secs_f32() * 1e3
}
