#!/usr/bin/env bash
# `make ablation`: what reinforcement adds to supervised fine-tuning. Eight synthetic markets of
# other seeds than SYN10's, one after another in time, then four runs: supervised, pairwise and
# GRPO-lite from it, and pairwise from the bare base. The signal is a tenth of SYN10's: a decision
# is a risk there, as in any market. SIGNAL=0 makes markets that nothing predicts, RUNS="sft"
# makes that run alone. What was done is kept, so that an ablation that was stopped goes on.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

SIGNAL=${SIGNAL:-0.1}
RUNS=${RUNS:-sft pairwise grpo_lite pairwise-alone}
MARKET=configs/universes/syn10.toml
# Another configuration, or another market, is another ablation.
KEY=$(cat configs/training-ablation.yaml "$MARKET" | sha256sum | cut -c1-8)
PLACE=$TARGET/ablation-$SIGNAL-$KEY

scripts/prepare.sh
mkdir -p "$PLACE/lake"
ln -sfn "$R2R_DATA_DIR/models" "$PLACE/lake/models"
export R2R_DATA_DIR=$PLACE/lake

# market ID SEED FIRST: SYN10 with another seed and first day, and prices and news alone: half
# the tokens of a prompt, and both tell what prices will do.
market() {
    awk 'BEGIN { RS = ""; ORS = "\n\n" } !/^\[\[feeds/ || /kind = "(bars|index|news)"/' "$MARKET" |
        sed -e "s/^id = .*/id = \"$1\"/" -e "s/^seed = .*/seed = $2/" \
            -e "s/^first = .*/first = \"$3\"/" -e "s/^signal = .*/signal = $SIGNAL/" \
            >"$PLACE/$1.toml"
    "$BIN/r2r" data build --universe "$PLACE/$1.toml"
}
market SYNA 1 2000-01-03
market SYNB 2 2002-06-03
market SYNC 3 2004-11-01
market SYND 4 2007-04-02
market SYNE 5 2009-09-01
market SYNF 6 2012-02-01
market SYNG 7 2014-07-01
market SYNH 8 2016-12-01

# train COMMAND NAME ARGUMENTS...: a run, if it is asked for and was not made. A run that a
# guard stops is a result like any other: the next one is made all the same.
train() {
    local command=$1 name=$2
    shift 2
    case " $RUNS " in *" $name "*) ;; *) return 0 ;; esac
    [ ! -f "$PLACE/runs/$name/run.json" ] || return 0
    say "run $name ..."
    "$BIN/r2r-trainer" "$command" --config ablation --set "tracking.runs_dir=$PLACE/runs" \
        --set "name=$name" "$@" || say "run $name was stopped"
}
# calibrated NAME: its calibration, if there is such a run.
calibrated() {
    local run=$PLACE/runs/$1
    if [ -f "$run/run.json" ] && [ ! -f "$run/reliability.svg" ]; then
        step "calibration of $1" "$BIN/r2r-trainer" calibrate "$run"
    fi
}
if [ ! -d "$PLACE/corpus" ]; then
    step "corpus" "$BIN/r2r-trainer" corpus --config ablation --out "$PLACE/corpus"
fi
train sft sft --corpus "$PLACE/corpus"
case " $RUNS " in *" pairwise "* | *" grpo_lite "*)
    [ -f "$PLACE/runs/sft/run.json" ] || die "there is nothing to start from: RUNS begins with sft"
    ;;
esac
calibrated sft
# The first steps of AdamW have the size of the rate whatever the gradient: few, small ones first.
WARM=(--set optimizer.warmup_ratio=0.25)
FROM=(--adapter "$PLACE/runs/sft/adapter.gguf")
train rft pairwise "${WARM[@]}" "${FROM[@]}"
calibrated pairwise
train rft grpo_lite "${WARM[@]}" "${FROM[@]}" --set rl.method=grpo_lite
train rft pairwise-alone "${WARM[@]}"
# shellcheck disable=SC2086 # a list of names
python3 scripts/ablation.py "$PLACE/runs" $RUNS | tee "$PLACE/table.md"
