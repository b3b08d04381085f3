//! Words that assert a direction, and which directions an item supports.

use std::collections::BTreeSet;

use domain::{EvidenceItem, EvidenceKind, Feature, Polarity};

const UP: &str = "\
    above advance advanced advances attractive best better bull bullish climb climbed \
    climbing climbs confidence confident exceed exceeded exceeds favorable favorably \
    favourable gain gained gaining gains good great grew grow growing grows growth healthy \
    high higher improve improved improvement improving increase increased increases \
    increasing jump jumped jumps optimism optimistic outperform outperformed \
    outperforming positive rallied rally rebound rebounded recovering recovery resilient \
    rise risen rises rising robust rose soar soared solid strength strong stronger \
    supportive surge surged up upside uptrend upward";

const DOWN: &str = "\
    adverse bad bear bearish below crash cut cuts decline declined declines declining \
    decrease decreased decreases decreasing deteriorating deterioration dip dipped down \
    downside downtrend downturn downward drop dropped dropping drops fall fallen falling \
    falls fell lose losing loss losses lost low lower lowers negative pessimism pessimistic \
    plunge plunged poor pressure recession reduce reduced reduces selloff shrank shrink slid \
    slide slowdown slowing slump slumped stress tumble tumbled underperform underperformed \
    underperforming unfavorable unfavourable unhealthy weak weaken weakened weaker weakness \
    worse worsened worst";

/// Words in which claims read their evidence, beyond those above. In a text they
/// say too little to go by ("home buyers").
const READ_UP: &str = "buyers comfort favour helps supports tailwind";
const READ_DOWN: &str = "caution headwind sellers slipping weighs";

/// A direction a sentence can assert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// Rising, above, positive.
    Up,
    /// Falling, below, negative.
    Down,
}

impl Direction {
    /// Both directions.
    pub const ALL: [Self; 2] = [Self::Up, Self::Down];

    const fn opposite(self) -> Self {
        match self {
            Self::Up => Self::Down,
            Self::Down => Self::Up,
        }
    }
}

/// Returns the directions a text speaks of. Negation is not understood, which
/// errs on the side of refuting a claim.
pub(crate) fn directions(text: &str) -> BTreeSet<Direction> {
    spoken(text, &[[UP], [DOWN]])
}

/// Returns the directions a claim's own words assert.
pub(crate) fn asserted(own_words: &str) -> BTreeSet<Direction> {
    spoken(own_words, &[[UP, READ_UP], [DOWN, READ_DOWN]])
}

/// `lists` holds the words of each direction, in the order of [`Direction::ALL`].
fn spoken<const N: usize>(text: &str, lists: &[[&str; N]; 2]) -> BTreeSet<Direction> {
    let lower = text.to_ascii_lowercase();
    let words: BTreeSet<&str> = lower.split(|c: char| !c.is_ascii_alphabetic()).collect();
    let speaks = |lists: &[&str; N]| {
        let mut list = lists.iter().flat_map(|list| list.split_ascii_whitespace());
        list.any(|word| words.contains(word))
    };
    let both = Direction::ALL.into_iter().zip(lists);
    both.filter(|(_, lists)| speaks(lists)).map(|(direction, _)| direction).collect()
}

/// Returns what `item` says about the stock: the sign of a signed number as its
/// polarity reads it, or the one direction a text speaks of.
pub(crate) fn reading(item: &EvidenceItem) -> Option<Direction> {
    match &item.kind {
        EvidenceKind::Numeric(feature) => match feature.polarity {
            Polarity::Good => sign(feature),
            Polarity::Bad => sign(feature).map(Direction::opposite),
            Polarity::Neutral => None,
        },
        EvidenceKind::Text(snippet) => {
            let mut spoken = directions(&snippet.text).into_iter();
            spoken.next().filter(|_| spoken.next().is_none())
        }
    }
}

/// Returns the directions that a claim on `item` may assert: what a number says
/// about the stock, and of a text what it says itself.
pub(crate) fn supported(item: &EvidenceItem) -> BTreeSet<Direction> {
    match &item.kind {
        EvidenceKind::Text(snippet) => directions(&snippet.text),
        EvidenceKind::Numeric(_) => reading(item).into_iter().collect(),
    }
}

/// The sign of what is shown: a change that renders as 0.0% has none, and a
/// level or a count never has.
fn sign(feature: &Feature) -> Option<Direction> {
    let rendered = feature.rendered();
    let sign = rendered.chars().next().filter(|_| feature.unit.is_signed());
    match sign {
        Some('+') => Some(Direction::Up),
        Some('-') => Some(Direction::Down),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_whole_words_only() {
        assert!(directions("an update on supply").is_empty());
        assert_eq!(directions("Apple Lowers output"), [Direction::Down].into());
        assert_eq!(directions("rose, then fell below"), Direction::ALL.into());
        assert_eq!(directions("higher-margin"), [Direction::Up].into());
        assert!(directions("home buyers").is_empty());
    }
}
