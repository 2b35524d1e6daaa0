//! Does a pattern help? Counted outcomes, and what may be believed of them.
//!
//! A rate of few trials says little, so every figure comes with its uncertainty: outcomes are
//! Bernoulli trials with a Beta prior. Without trials in which the pattern was held back on
//! purpose, nothing here says that it helps; it only says how often things went well.

use serde::{Deserialize, Serialize};

/// Counted outcomes of one arm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcomes {
    /// Trials after which the failure was gone and the checks passed.
    pub succeeded: u32,
    /// All others.
    pub failed: u32,
}

/// What resolved a failure, as the learner records it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolution {
    /// The failure's group fingerprint.
    pub group: String,
    /// Its typed problem; empty where none was told.
    pub kind: String,
    /// Who resolved it: the driver's name.
    pub resolved_by: String,
    /// What was done, in one line.
    pub action: String,
    /// Paths that the resolving change touched.
    pub paths: Vec<String>,
}

/// A Beta distribution over the chance of success.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Belief {
    /// Successes and one, or the prior's.
    alpha: f64,
    /// Failures and one, or the prior's.
    beta: f64,
}

/// Weight of a category's mean as a prior, in trials: rare patterns lean on their category.
const PRIOR_TRIALS: f64 = 4.0;

impl Outcomes {
    /// How many trials there were.
    pub const fn trials(self) -> u32 {
        self.succeeded + self.failed
    }

    /// Counts one more trial.
    #[must_use]
    pub const fn with(self, success: bool) -> Self {
        if success {
            Self { succeeded: self.succeeded.saturating_add(1), ..self }
        } else {
            Self { failed: self.failed.saturating_add(1), ..self }
        }
    }

    /// Successes in all trials, 0 to 1; `None` without a trial.
    pub fn success_rate(self) -> Option<f64> {
        (self.trials() > 0).then(|| f64::from(self.succeeded) / f64::from(self.trials()))
    }

    /// What may be believed, without knowing anything before.
    pub fn belief(self) -> Belief {
        Belief { alpha: f64::from(self.succeeded) + 1.0, beta: f64::from(self.failed) + 1.0 }
    }

    /// What may be believed, given the mean success rate (0 to 1) of the category.
    pub fn belief_given(self, category_mean: f64) -> Belief {
        let mean = category_mean.clamp(0.01, 0.99);
        Belief {
            alpha: f64::from(self.succeeded) + PRIOR_TRIALS * mean,
            beta: f64::from(self.failed) + PRIOR_TRIALS * (1.0 - mean),
        }
    }
}

impl Belief {
    /// The expected chance of success, 0 to 1.
    pub fn mean(self) -> f64 {
        self.alpha / (self.alpha + self.beta)
    }

    /// How sure the mean is, 0 to 1: the share of the uniform prior's spread that is gone.
    pub fn confidence(self) -> f64 {
        let sum = self.alpha + self.beta;
        let deviation = (self.alpha * self.beta / (sum * sum * (sum + 1.0))).sqrt();
        // The uniform distribution's own deviation is 1/sqrt(12).
        (1.0 - deviation * 12.0_f64.sqrt()).clamp(0.0, 1.0)
    }

    /// The chance that this arm is better than the other one, 0 to 1. Both arms count as
    /// independent; the integral is taken over a fixed grid, exact to about three digits.
    pub fn probability_better_than(self, other: Self) -> f64 {
        const STEPS: u32 = 2_000;
        // Densities in logarithms, scaled by their largest value: they may span hundreds of orders.
        let density = |belief: Self| -> Vec<f64> {
            let log = |x: f64| (belief.alpha - 1.0) * x.ln() + (belief.beta - 1.0) * (1.0 - x).ln();
            let logs: Vec<f64> =
                (0..STEPS).map(|step| log((f64::from(step) + 0.5) / f64::from(STEPS))).collect();
            let largest = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            logs.into_iter().map(|log| (log - largest).exp()).collect()
        };
        let (own, others) = (density(self), density(other));
        let (mut below, mut better) = (0.0, 0.0);
        for (own, other) in own.iter().zip(&others) {
            // Within one step the two are as likely in either order.
            better += own * (below + other / 2.0);
            below += other;
        }
        better / (below * own.iter().sum::<f64>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_trials_are_believed_little() {
        let few = Outcomes { succeeded: 3, failed: 0 };
        let many = Outcomes { succeeded: 60, failed: 20 };
        assert_eq!(few.success_rate(), Some(1.0));
        assert!(
            few.belief().mean() < 0.81 && few.belief().confidence() < many.belief().confidence()
        );
        assert!((few.belief_given(0.5).mean() - 5.0 / 7.0).abs() < 1e-9);
        assert_eq!(Outcomes::default().success_rate(), None);
        assert!(Outcomes::default().belief().confidence() < 1e-9);
        assert_eq!(
            Outcomes::default().with(true).with(false),
            Outcomes { succeeded: 1, failed: 1 }
        );
    }

    #[test]
    fn the_chance_to_be_better_agrees_with_known_values() {
        let belief = |succeeded, failed| Outcomes { succeeded, failed }.belief();
        // Beta(2,1) against Beta(1,1): 2/3; Beta(2,1) against Beta(1,2): 5/6.
        assert!((belief(1, 0).probability_better_than(belief(0, 0)) - 2.0 / 3.0).abs() < 1e-3);
        assert!((belief(1, 0).probability_better_than(belief(0, 1)) - 5.0 / 6.0).abs() < 1e-3);
        assert!(belief(90, 10).probability_better_than(belief(10, 90)) > 0.999);
        let even = belief(5_000, 5_000).probability_better_than(belief(5_000, 5_000));
        assert!((even - 0.5).abs() < 1e-3, "{even}");
    }

    proptest::proptest! {
        #[test]
        fn one_of_two_is_better(a in 0_u32..400, b in 0_u32..400, c in 0_u32..400, d in 0_u32..400) {
            let (one, two) = (Outcomes { succeeded: a, failed: b }.belief(), Outcomes { succeeded: c, failed: d }.belief());
            let sum = one.probability_better_than(two) + two.probability_better_than(one);
            proptest::prop_assert!((sum - 1.0).abs() < 1e-6);
        }
    }
}
