//! Optimizers with `PyTorch`'s defaults, learning-rate schedules and clipping by the global norm.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamGroup, ParamId};
use burn::optim::decay::WeightDecayConfig;
use burn::optim::{AdamConfig, AdamWConfig, GradientsParams, ModuleOptimizer};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

/// Kind of optimizer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OptimizerKind {
    /// Adam; weight decay is added to the gradient (L2), as in `torch.optim.Adam`.
    Adam,
    /// `AdamW`; weight decay acts on the parameter, as in `torch.optim.AdamW`.
    Adamw,
}

/// How the learning rate changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Schedule {
    /// Never.
    Constant,
    /// Multiplied by `factor` when the validation loss has not improved for `patience` evaluations (`ConVIRT`: 0.5, 5).
    Plateau {
        /// Factor of a reduction.
        factor: f64,
        /// Evaluations without improvement that are waited for.
        patience: u32,
    },
    /// Linear warm-up from the rate at the end over a fraction of the run, then half a cosine back to it (`MGCA`: 0.4 of the
    /// run, from and to 1e-8).
    OneCycle {
        /// Fraction of the run that is warm-up.
        warmup_fraction: f64,
        /// Fraction of the peak at both ends.
        #[serde(default)]
        final_fraction: f64,
    },
    /// Linear warm-up from zero, then half a cosine down to `final_fraction` of the peak at the last step.
    WarmupCosine {
        /// Steps of the warm-up.
        warmup_steps: u64,
        /// Fraction of the peak at the end.
        #[serde(default)]
        final_fraction: f64,
    },
}

impl Schedule {
    /// Whether the rate of a step depends on how many there will be.
    pub fn looks_ahead(&self) -> bool {
        matches!(self, Self::WarmupCosine { .. } | Self::OneCycle { .. })
    }

    /// Factor on the learning rate at a step; reductions of a plateau are counted by [`Plateau`].
    pub fn factor(&self, step: u64, total_steps: u64) -> f64 {
        match *self {
            Self::Constant | Self::Plateau { .. } => 1.0,
            Self::WarmupCosine { warmup_steps, .. } if step < warmup_steps => step as f64 / warmup_steps as f64,
            Self::WarmupCosine { warmup_steps, final_fraction } => {
                half_cosine(step - warmup_steps, total_steps.saturating_sub(warmup_steps), final_fraction)
            }
            Self::OneCycle { warmup_fraction, final_fraction } => {
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a part of a count")]
                let warmup = (warmup_fraction.clamp(0.0, 1.0) * total_steps as f64) as u64;
                if step < warmup {
                    final_fraction + (1.0 - final_fraction) * step as f64 / warmup as f64
                } else {
                    half_cosine(step - warmup, total_steps.saturating_sub(warmup), final_fraction)
                }
            }
        }
    }
}

/// Half a cosine from 1 down to `end` after `length` steps.
fn half_cosine(step: u64, length: u64, end: f64) -> f64 {
    let progress = (step as f64 / length.max(1) as f64).min(1.0);
    end + (1.0 - end) * 0.5 * (1.0 + (std::f64::consts::PI * progress).cos())
}

/// Halves the learning rate on a plateau and says when to stop.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plateau {
    /// `None` before the first loss: JSON knows no infinity.
    best: Option<f64>,
    since_best: u32,
    waited: u32,
    factor: f64,
}

impl Default for Plateau {
    fn default() -> Self {
        Self { best: None, since_best: 0, waited: 0, factor: 1.0 }
    }
}

impl Plateau {
    /// Takes a validation loss; returns whether it is the lowest so far.
    pub fn observe(&mut self, loss: f64, schedule: &Schedule) -> bool {
        if self.best.is_none_or(|best| loss < best) && !loss.is_nan() {
            self.best = Some(loss);
            self.since_best = 0;
            self.waited = 0;
            return true;
        }
        self.since_best += 1;
        self.waited += 1;
        if let Schedule::Plateau { factor, patience } = *schedule
            && self.waited >= patience
        {
            self.factor *= factor;
            self.waited = 0;
        }
        false
    }

    /// Product of all reductions so far.
    pub fn factor(&self) -> f64 {
        self.factor
    }

    /// Evaluations since the lowest loss.
    pub fn since_best(&self) -> u32 {
        self.since_best
    }
}

/// An optimizer and its schedule. Defaults are `PyTorch`'s, not Burn's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OptimConfig {
    /// Kind of optimizer.
    pub kind: OptimizerKind,
    /// Peak learning rate.
    pub lr: f64,
    /// Decay rates of the two moments.
    #[serde(default = "OptimConfig::default_betas")]
    pub betas: [f32; 2],
    /// Added to the root of the second moment.
    #[serde(default = "OptimConfig::default_eps")]
    pub eps: f32,
    /// Weight decay; what it acts on depends on the kind.
    #[serde(default)]
    pub weight_decay: f32,
    /// Leaves biases and the parameters of normalisation layers out of weight decay.
    #[serde(default)]
    pub decay_matrices_only: bool,
    /// Largest global norm of the gradient; absent: no clipping.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip_norm: Option<f64>,
    /// Learning-rate schedule.
    pub schedule: Schedule,
}

impl OptimConfig {
    fn default_betas() -> [f32; 2] {
        [0.9, 0.999]
    }

    fn default_eps() -> f32 {
        1e-8
    }

    /// The optimizer for a module, without state.
    pub fn init<M: Module>(&self, module: &M) -> ModuleOptimizer {
        let spared = if self.decay_matrices_only { vectors(module) } else { Vec::new() };
        let spared = (!spared.is_empty()).then(|| ParamGroup::from_ids(spared));
        match self.kind {
            OptimizerKind::Adam => {
                let plain =
                    AdamConfig::new().with_beta_1(self.betas[0]).with_beta_2(self.betas[1]).with_epsilon(self.eps);
                let decay = (self.weight_decay > 0.0).then_some(WeightDecayConfig { penalty: self.weight_decay });
                let optimizer = plain.clone().with_weight_decay(decay).init();
                match spared {
                    Some(group) => optimizer.with_group(group, plain.build(), None),
                    None => optimizer,
                }
            }
            OptimizerKind::Adamw => {
                let plain = AdamWConfig::new()
                    .with_beta_1(self.betas[0])
                    .with_beta_2(self.betas[1])
                    .with_epsilon(self.eps)
                    .with_weight_decay(0.0);
                let optimizer = plain.clone().with_weight_decay(self.weight_decay).init();
                match spared {
                    Some(group) => optimizer.with_group(group, plain.build(), None),
                    None => optimizer,
                }
            }
        }
    }
}

/// The module with its parameters numbered in their order, so that the state of an optimizer, which goes by these
/// numbers, fits another process.
pub fn number_parameters<M: Module>(module: M) -> M {
    struct Number(u64);
    impl ModuleMapper for Number {
        fn map_float<const D: usize>(&mut self, mut param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            self.0 += 1;
            param.id = ParamId::from(self.0);
            param
        }
    }
    module.map(&mut Number(0))
}

/// Ids of the parameters of rank 1: biases, scales and shifts.
fn vectors<M: Module>(module: &M) -> Vec<ParamId> {
    struct Vectors(Vec<ParamId>);
    impl ModuleVisitor for Vectors {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if D == 1 {
                self.0.push(param.id);
            }
        }
    }
    let mut found = Vectors(Vec::new());
    module.visit(&mut found);
    found.0
}

/// Numbers of the parameters of a module that have a gradient: those that are trained.
pub fn num_with_gradient<M: Module>(module: &M, grads: &GradientsParams) -> usize {
    struct Count<'a>(&'a GradientsParams, usize);
    impl ModuleVisitor for Count<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(grad) = self.0.get::<D>(param.id) {
                self.1 += grad.shape().num_elements();
            }
        }
    }
    let mut count = Count(grads, 0);
    module.visit(&mut count);
    count.1
}

/// Global norm of all gradients of a module; scales them down to `max_norm` where they exceed it, as
/// `torch.nn.utils.clip_grad_norm_` does (epsilon 1e-6).
pub fn clip_global_norm<M: Module>(module: &M, grads: &mut GradientsParams, max_norm: Option<f64>) -> f64 {
    struct Squares<'a>(&'a GradientsParams, Option<Tensor<1>>);
    impl ModuleVisitor for Squares<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(grad) = self.0.get::<D>(param.id) {
                let square = grad.square().sum();
                self.1 = Some(match self.1.take() {
                    Some(sum) => sum + square,
                    None => square,
                });
            }
        }
    }
    struct Scale<'a>(&'a mut GradientsParams, f64);
    impl ModuleVisitor for Scale<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(grad) = self.0.remove::<D>(param.id) {
                self.0.register(param.id, grad.mul_scalar(self.1));
            }
        }
    }
    let mut squares = Squares(grads, None);
    module.visit(&mut squares);
    let norm = squares.1.map_or(0.0, |sum| f64::from(sum.into_scalar::<f32>())).sqrt();
    if let Some(max_norm) = max_norm {
        let scale = max_norm / (norm + 1e-6);
        if scale < 1.0 {
            module.visit(&mut Scale(grads, scale));
        }
    }
    norm
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `methods.md`, section 10.
    #[test]
    fn one_cycle_is_that_of_mgca() {
        let schedule = Schedule::OneCycle { warmup_fraction: 0.4, final_fraction: 5e-4 };
        let steps = [0, 1, 200, 400, 700, 999];
        for (step, lr) in steps.into_iter().zip([1e-8, 5.9975e-8, 1.0005e-5, 2e-5, 1.0005e-5, 1.013_701e-8]) {
            let found = 2e-5 * schedule.factor(step, 1000);
            assert!((found - lr).abs() < 1e-6 * lr, "{found} at {step}, not {lr}");
        }
    }

    /// `methods.md`, section 10.
    #[test]
    fn warm_up_and_cosine_are_those_of_medclip() {
        let schedule = Schedule::WarmupCosine { warmup_steps: 100, final_fraction: 0.0 };
        let steps = [0, 1, 50, 100, 550, 999];
        for (step, lr) in steps.into_iter().zip([0.0, 2e-7, 1e-5, 2e-5, 1e-5, 6.092_342e-11]) {
            let found = 2e-5 * schedule.factor(step, 1000);
            assert!((found - lr).abs() <= 1e-6 * lr, "{found} at {step}, not {lr}");
        }
    }

    #[test]
    fn warm_up_rises_linearly_and_the_cosine_ends_at_its_fraction() {
        let schedule = Schedule::WarmupCosine { warmup_steps: 100, final_fraction: 0.1 };
        assert!((schedule.factor(50, 1100) - 0.5).abs() < 1e-12);
        assert!((schedule.factor(100, 1100) - 1.0).abs() < 1e-12);
        // Half way down the cosine: 0.1 + 0.9 * 0.5.
        assert!((schedule.factor(600, 1100) - 0.55).abs() < 1e-12);
        assert!((schedule.factor(1100, 1100) - 0.1).abs() < 1e-12);
    }

    #[test]
    fn the_rate_is_halved_after_five_evaluations_without_improvement() {
        let schedule = Schedule::Plateau { factor: 0.5, patience: 5 };
        let mut plateau = Plateau::default();
        assert!(plateau.observe(1.0, &schedule));
        for _ in 0..4 {
            assert!(!plateau.observe(1.0, &schedule));
        }
        assert!((plateau.factor() - 1.0).abs() < 1e-12);
        plateau.observe(1.0, &schedule);
        assert!((plateau.factor() - 0.5).abs() < 1e-12 && plateau.since_best() == 5);
        assert!(plateau.observe(0.9, &schedule) && plateau.since_best() == 0);
    }
}
