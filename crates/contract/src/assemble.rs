//! From verified claims to the answer: everything the model did not write is
//! spliced in from the catalogue here.

use domain::{AsOfRead, EvidenceItem, EvidenceKind, LabelProbs, Section};
use serde::Serialize;

use crate::{
    plan::DraftClaim,
    sizing::controls,
    thesis::{
        DISCLAIMER, Decision, Evidence, EvidenceDetail, Explain, HORIZONS_DAYS, Receipt, Sections,
        Thesis, Verdict, VerdictKind, claim_id,
    },
};

const WITHHELD: &str = "This claim is withheld: it did not stand up to its evidence.";

/// What the model wrote for one read.
#[derive(Debug, Clone, PartialEq)]
pub struct Writing {
    /// The claims in writing order, each with its verdict.
    pub claims: Vec<(DraftClaim, VerdictKind)>,
    /// The calibrated probabilities.
    pub probs: LabelProbs,
}

/// A claim as it leaves: its text, or what stands for it, and what it rests on.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Claim {
    /// The section that makes it.
    pub section: Section,
    /// The sentence.
    pub text: String,
    /// How it stood up to its evidence.
    pub verdict: VerdictKind,
    /// What it rests on; holds the claim's id.
    pub evidence: Evidence,
}

/// Splices in what a claim cites. It is the section's claim number `position`,
/// from 0.
///
/// # Panics
/// Panics on a claim that cites nothing of `read`, which no plan does.
#[must_use]
pub fn cite(read: &AsOfRead, position: usize, claim: &DraftClaim, verdict: VerdictKind) -> Claim {
    let item = read.item(claim.evidence).expect("claims cite the catalogue");
    let withheld = verdict == VerdictKind::Withheld;
    Claim {
        section: claim.section,
        text: if withheld { WITHHELD.to_owned() } else { claim.text.clone() },
        verdict,
        evidence: evidence(claim_id(claim.section, position), item),
    }
}

/// Builds the answer. The same arguments give the same bytes.
///
/// # Panics
/// As [`cite`].
#[must_use]
pub fn assemble(read: &AsOfRead, writing: &Writing, receipt: Receipt) -> Thesis {
    let mut sections = Sections {
        market: Vec::new(),
        fundamentals: Vec::new(),
        sentiment: Vec::new(),
        technicals: Vec::new(),
        insider: Vec::new(),
        risks: Vec::new(),
        evidence: Vec::with_capacity(writing.claims.len()),
    };
    let mut verification = Vec::with_capacity(writing.claims.len());
    let mut key_factors = Vec::new();
    for (claim, verdict) in &writing.claims {
        let texts = match claim.section {
            Section::Market => &mut sections.market,
            Section::Fundamentals => &mut sections.fundamentals,
            Section::Sentiment => &mut sections.sentiment,
            Section::Technicals => &mut sections.technicals,
            Section::Insider => &mut sections.insider,
            Section::Risks => &mut sections.risks,
        };
        let cited = read.item(claim.evidence).filter(|item| !item.is_absence());
        key_factors.extend(cited.filter(|_| texts.is_empty()).map(EvidenceItem::text));
        let Claim { text, evidence, verdict, .. } = cite(read, texts.len(), claim, *verdict);
        texts.push(text);
        verification.push(Verdict { claim_id: evidence.claim_id.clone(), verdict });
        sections.evidence.push(evidence);
    }
    let label = writing.probs.argmax();
    Thesis {
        ticker: read.ticker().clone(),
        company: read.company().to_owned(),
        as_of: read.as_of(),
        thesis: sections,
        decision: Decision {
            label,
            probs: writing.probs,
            conviction: writing.probs.conviction(),
            horizons_days: HORIZONS_DAYS,
        },
        controls: controls(&writing.probs, read.value("vol_60d")),
        explain: Explain {
            key_factors,
            ablation_notes: vec!["No ablation was run for this request.".to_owned()],
        },
        verification,
        receipt,
        disclaimer: DISCLAIMER,
    }
}

fn evidence(claim_id: String, item: &EvidenceItem) -> Evidence {
    let detail = match &item.kind {
        EvidenceKind::Text(snippet) => EvidenceDetail::Text {
            quote: snippet.text.clone(),
            file: snippet.file.clone(),
            record_id: snippet.record_id.clone(),
            column: snippet.column.clone(),
            start: snippet.start,
            end: snippet.end,
        },
        EvidenceKind::Numeric(feature) => EvidenceDetail::Numeric {
            quote: None,
            feature: feature.name.clone(),
            statement: feature.statement(),
            value: feature.value,
            unit: feature.unit,
            window_days: feature.window_days,
        },
    };
    let provenance = item.provenance();
    Evidence {
        claim_id,
        evidence_id: item.id,
        detail,
        source: provenance.source.clone(),
        url: provenance.url.clone(),
        event_time: provenance.event_time,
        time: provenance.known_at,
    }
}
