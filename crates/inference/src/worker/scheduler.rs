//! Continuous batching: every step decodes what each sequence has pending.
//!
//! A sequence always meets the same sequence of batch shapes, whatever else is
//! decoded: its prompt in chunks counted from its own start, then its output
//! in the runs its grammar produced. Only runs of equal length share a batch.
//! With a KV stream for each sequence this makes the output independent of the
//! neighbours, because no sum in the model is taken in another order.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::mpsc::{Receiver, RecvError, TryRecvError},
    time::{Duration, Instant},
};

use llama_cpp_2::{
    context::LlamaContext, llama_batch::LlamaBatch, model::LlamaModel, token::LlamaToken,
};

use super::{
    Outbox,
    intake::Event,
    sequence::{Prepared, Sequence},
};
use crate::{
    engine::ContextConfig,
    error::InferenceError,
    protocol::{FromWorker, Progress},
};

/// Longest silence of a busy worker.
const HEARTBEAT: Duration = Duration::from_millis(100);

/// Owner of the context and of all sequences in it.
pub(super) struct Scheduler<'model> {
    model: &'model LlamaModel,
    context: LlamaContext<'model>,
    batch: LlamaBatch<'static>,
    /// By sequence id. The lowest free one is used, because llama.cpp joins
    /// only neighbouring streams in one graph.
    slots: Vec<Option<Sequence>>,
    waiting: VecDeque<Prepared>,
    /// Tokens of the shared prefix.
    prefix: u32,
    /// Whether a sequence holds the prefix; it then keeps it.
    has_prefix: Vec<bool>,
    chunk: usize,
    outbox: Outbox,
    progress: Progress,
    reported: Progress,
    reported_at: Instant,
    closed: bool,
}

impl<'model> Scheduler<'model> {
    pub(super) fn new(
        model: &'model LlamaModel,
        context: LlamaContext<'model>,
        config: ContextConfig,
        outbox: Outbox,
    ) -> Self {
        let capacity = context.n_batch() as usize;
        Self {
            model,
            context,
            batch: LlamaBatch::new(capacity, 1),
            slots: (0..config.max_sequences).map(|_| None).collect(),
            waiting: VecDeque::new(),
            prefix: 0,
            has_prefix: vec![false; config.max_sequences as usize],
            chunk: config.prefill_chunk as usize,
            outbox,
            progress: Progress::default(),
            reported: Progress::default(),
            reported_at: Instant::now(),
            closed: false,
        }
    }

    /// Decodes the shared prefix once, into the first sequence.
    pub(super) fn load_prefix(&mut self, tokens: &[LlamaToken]) -> Result<(), String> {
        self.prefix = u32::try_from(tokens.len()).map_err(|error| error.to_string())?;
        let room = self.context.n_ctx() / u32::try_from(self.slots.len()).unwrap_or(1);
        if self.prefix >= room {
            return Err(format!("a system prompt of {} tokens in {room}", self.prefix));
        }
        let mut position = 0;
        for chunk in tokens.chunks(self.chunk) {
            self.batch.clear();
            for (i, token) in chunk.iter().enumerate() {
                self.batch
                    .add(*token, position, &[0], i + 1 == chunk.len())
                    .map_err(|error| error.to_string())?;
                position += 1;
            }
            self.context.decode(&mut self.batch).map_err(|error| error.to_string())?;
        }
        let logits = self.context.get_logits_ith(self.batch.n_tokens() - 1);
        if !logits.iter().all(|logit| logit.is_finite()) {
            return Err("the system prompt gives logits that are not finite".to_owned());
        }
        self.has_prefix[0] = true;
        Ok(())
    }

    /// Decodes until the front closes its end.
    pub(super) fn run(&mut self, events: &Receiver<Event>) {
        while !self.closed {
            if self.is_idle() {
                self.report(true);
                match events.recv() {
                    Ok(event) => self.take(event),
                    Err(RecvError) => return,
                }
            }
            self.take_all(events);
            self.admit();
            self.step(events);
            self.report(false);
        }
    }

    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.slots.iter().all(Option::is_none)
    }

    fn take_all(&mut self, events: &Receiver<Event>) {
        loop {
            match events.try_recv() {
                Ok(event) => self.take(event),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    self.closed = true;
                    break;
                }
            }
        }
        self.expire();
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Admit(request) => self.waiting.push_back(*request),
            Event::Cancel(id) => {
                self.waiting.retain(|request| request.id != id);
                let has = |slot: &Option<Sequence>| slot.as_ref().is_some_and(|s| s.id() == id);
                if let Some(slot) = self.slots.iter().position(has) {
                    self.free(slot);
                    self.report(true);
                }
            }
            Event::Closed => self.closed = true,
        }
    }

    fn expire(&mut self) {
        let now = Instant::now();
        let late = |request: &mut Prepared| request.deadline <= now;
        while let Some(at) = self.waiting.iter_mut().position(late) {
            if let Some(request) = self.waiting.remove(at) {
                self.fail(request.id, InferenceError::DeadlineExceeded);
            }
        }
        for slot in 0..self.slots.len() {
            if let Some(sequence) = &self.slots[slot]
                && sequence.deadline() <= now
            {
                self.fail(sequence.id(), InferenceError::DeadlineExceeded);
                self.free(slot);
            }
        }
    }

    fn admit(&mut self) {
        for slot in 0..self.slots.len() {
            while self.slots[slot].is_none() {
                let Some(request) = self.waiting.pop_front() else {
                    return;
                };
                if let Err(detail) = self.copy_prefix(slot) {
                    self.fail(request.id, InferenceError::Decode { detail });
                    continue;
                }
                match Sequence::new(request, self.prefix, self.model) {
                    Ok(sequence) => self.slots[slot] = Some(sequence),
                    Err((id, error)) => self.fail(id, error),
                }
            }
        }
    }

    /// Copies the prefix into a sequence on its first use: with streams that
    /// is a copy of the whole buffer, which a starting worker need not wait for.
    fn copy_prefix(&mut self, slot: usize) -> Result<(), String> {
        if self.has_prefix[slot] {
            return Ok(());
        }
        self.context
            .copy_kv_cache_seq(0, sequence_id(slot), None, None)
            .map_err(|error| error.to_string())?;
        self.has_prefix[slot] = true;
        // The first sequence may be in use and hold more than the prefix.
        self.free(slot);
        Ok(())
    }

    /// Decodes the pending tokens of every sequence that generates, and one
    /// chunk of the oldest prompt, so that prompts never starve outputs.
    fn step(&mut self, events: &Receiver<Event>) {
        let mut runs: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (slot, sequence) in self.slots.iter().enumerate() {
            if let Some(sequence) = sequence
                && !sequence.is_prompt()
            {
                let n = sequence.pending().len().min(self.chunk);
                runs.entry(n).or_default().push(slot);
            }
        }
        for (n, slots) in runs {
            // More tokens than a micro-batch would be split across sequences.
            for slots in slots.chunks((self.chunk / n).max(1)) {
                self.decode(slots, n);
                self.take_all(events);
            }
        }
        let prompts = self.slots.iter().enumerate().filter_map(|(slot, sequence)| {
            let sequence = sequence.as_ref().filter(|sequence| sequence.is_prompt())?;
            Some((sequence.received(), slot, sequence.pending().len()))
        });
        if let Some((_, slot, pending)) = prompts.min() {
            self.decode(&[slot], pending.min(self.chunk));
        }
    }

    /// Decodes the first `n` pending tokens of some sequences in one batch.
    fn decode(&mut self, slots: &[usize], n: usize) {
        self.batch.clear();
        // Sequences whose pending tokens end here, with the index of their logits.
        let mut ends = Vec::with_capacity(slots.len());
        let mut members = Vec::with_capacity(slots.len());
        for &slot in slots {
            // A sequence may have been cancelled since the step was planned.
            let Some(sequence) = &self.slots[slot] else {
                continue;
            };
            let last = sequence.pending().len() == n;
            let end = sequence.position() + u32::try_from(n - 1).unwrap_or(u32::MAX);
            for (position, token) in (sequence.position()..).zip(&sequence.pending()[..n]) {
                let at = i32::try_from(position).unwrap_or(i32::MAX);
                let logits = last && position == end;
                if let Err(error) = self.batch.add(*token, at, &[sequence_id(slot)], logits) {
                    self.fail_all(slots, &error.to_string());
                    return;
                }
            }
            members.push(slot);
            if last {
                ends.push((slot, self.batch.n_tokens() - 1));
            }
        }
        if members.is_empty() {
            return;
        }
        if let Err(error) = self.context.decode(&mut self.batch) {
            self.fail_all(&members, &error.to_string());
            return;
        }
        self.progress.batches += 1;
        self.progress.batch_tokens += (members.len() * n) as u64;
        for slot in members {
            if let Some(sequence) = &mut self.slots[slot] {
                sequence.decoded(n);
            }
        }
        for (slot, index) in ends {
            self.advance(slot, index);
        }
        self.report(false);
    }

    fn advance(&mut self, slot: usize, logits_index: i32) {
        let Some(sequence) = &mut self.slots[slot] else {
            return;
        };
        let logits = self.context.get_logits_ith(logits_index);
        match sequence.advance(logits, self.model) {
            Ok(None) => {}
            Ok(Some(reason)) => {
                if let Some(sequence) = self.free(slot) {
                    let (id, generation) = sequence.finish(reason);
                    self.outbox.send(&FromWorker::Finished { id, generation });
                }
            }
            Err(error) => {
                let id = sequence.id();
                self.free(slot);
                self.fail(id, error);
            }
        }
    }

    /// Removes a sequence; its cells after the shared prefix become free.
    fn free(&mut self, slot: usize) -> Option<Sequence> {
        let sequence = self.slots[slot].take();
        let id = u32::try_from(slot).ok();
        let freed = self.context.clear_kv_cache_seq(id, Some(self.prefix), None);
        // Removal of a tail only fails in recurrent models, which the
        // architecture allowlist excludes.
        debug_assert!(matches!(freed, Ok(true)), "{freed:?}");
        sequence
    }

    fn fail(&self, id: u64, error: InferenceError) {
        self.outbox.send(&FromWorker::Failed { id, error });
    }

    fn fail_all(&mut self, slots: &[usize], detail: &str) {
        for &slot in slots {
            if let Some(sequence) = self.free(slot) {
                let detail = detail.to_owned();
                self.fail(sequence.id(), InferenceError::Decode { detail });
            }
        }
    }

    /// Sends a sign of life, at most one in [`HEARTBEAT`] unless something of
    /// interest changed.
    fn report(&mut self, now: bool) {
        let active = self.slots.iter().flatten().count();
        self.progress.active = u32::try_from(active).unwrap_or(u32::MAX);
        self.progress.queued = u32::try_from(self.waiting.len()).unwrap_or(u32::MAX);
        self.progress.kv_tokens = self.slots.iter().flatten().map(Sequence::position).sum();
        let changed = self.progress.active != self.reported.active
            || self.progress.queued != self.reported.queued;
        if changed || now || self.reported_at.elapsed() >= HEARTBEAT {
            self.outbox.send(&FromWorker::Progress(self.progress));
            self.reported = self.progress;
            self.reported_at = Instant::now();
        }
    }
}

fn sequence_id(slot: usize) -> i32 {
    i32::try_from(slot).unwrap_or(i32::MAX)
}
