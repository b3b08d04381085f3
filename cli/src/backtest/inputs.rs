//! From a question to what its backtests are made of.

use std::path::{Path, PathBuf};

use anyhow::ensure;
use backtest::{
    Backtest, Config, Forecast, Market, Strategy,
    strategies::{Needs, StrategyInfo},
};
use indicatif::ProgressBar;
use inference::model::ModelManifest;
use lake::Snapshot;
use study::{Followed, Recommendations, Study, StudyError};

use super::{decide::recommend, question::Question};

/// Reads a file of answers. Of the models of this program it is known what they were trained on.
fn of_file(path: &Path) -> anyhow::Result<Recommendations> {
    let mut found = Recommendations::read(path)?;
    let known = ModelManifest::builtin()?.into_iter().find(|known| known.name == found.model);
    found.trained_until = known.map(|manifest| manifest.trained_until);
    Ok(found)
}

/// The market of a universe, the configuration of a question, and what strategies need.
pub(crate) struct Data {
    study: Study,
    followed: Option<Followed>,
    pub(crate) config: Config,
}

impl Data {
    /// Reads prices, and what the strategies need; has a model write the recommendations
    /// that a strategy follows where no file of them is given.
    pub(crate) async fn load(
        question: &Question,
        strategies: &[&StrategyInfo],
        data_dir: &Path,
        progress: &ProgressBar,
    ) -> anyhow::Result<Self> {
        progress.set_message(format!("reading universe {}", question.universe));
        let snapshot = Snapshot::open_universe(data_dir, &question.universe).await?;
        let needs: Vec<Needs> = strategies.iter().map(|info| info.needs).collect();
        let study = Study::read(&snapshot, &needs, progress).await?;
        let config = question.config(study.market())?;
        let mut data = Self { study, followed: None, config };
        ensure!(
            question.decisions.is_none() || needs.contains(&Needs::Decisions),
            "--decisions is what strategy decisions follows, and none of the strategies is that"
        );
        if needs.contains(&Needs::Decisions) {
            let found = match &question.decisions {
                Some(path) => of_file(path)?,
                None => {
                    progress.set_message("starting the model");
                    let kept = data.derived(data_dir);
                    let (market, config) = (data.study.market(), &data.config);
                    recommend(&snapshot, (market, config), question, data_dir, &kept).await?
                }
            };
            data.followed = Some(data.follow(found, question)?);
        }
        Ok(data)
    }

    fn follow(&self, found: Recommendations, question: &Question) -> anyhow::Result<Followed> {
        let followed = found.follow(self.study.market(), &self.config, question.decision_days);
        let Some(path) = question.decisions.clone() else { return Ok(followed) };
        if followed.is_empty() {
            return Err(StudyError::Strangers { path, universe: question.universe.clone() }.into());
        }
        if followed.strangers() > 0 {
            anstream::eprintln!(
                "r2r: {} decisions of {} are about names outside the universe and were left out",
                followed.strangers(),
                path.display()
            );
        }
        Ok(followed)
    }

    pub(crate) const fn market(&self) -> &Market {
        self.study.market()
    }

    pub(crate) fn into_market(self) -> Market {
        self.study.into_market()
    }

    /// Makes a strategy.
    pub(crate) fn strategy(&self, info: &StrategyInfo) -> Result<Box<dyn Strategy>, StudyError> {
        self.study.strategy(info, self.config.seed, self.followed.as_ref())
    }

    /// Returns the forecasts of a model that can be judged.
    pub(crate) fn forecasts(&self, info: &StrategyInfo) -> Vec<Forecast> {
        let followed = self.followed.as_ref().filter(|_| info.needs == Needs::Decisions);
        followed.map_or_else(Vec::new, |followed| self.study.forecasts(followed, &self.config))
    }

    /// Adds to the bias of a run what the model it follows had seen.
    pub(crate) fn warn(&self, info: &StrategyInfo, run: &mut Backtest) {
        study::warn(run, info, self.followed.as_ref());
    }

    /// Returns the directory of what is derived from the snapshot.
    pub(crate) fn derived(&self, data_dir: &Path) -> PathBuf {
        self.study.derived(data_dir)
    }
}
