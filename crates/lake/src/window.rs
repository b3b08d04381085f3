//! The window functions that feature files may call, `name(series, ..., n) OVER w`:
//! a thin layer from DataFusion's arrays to the slice functions of [`kernels`].
//!
//! An undefined value is NULL in a query and NaN in a kernel.
//!
//! [`kernels`]: crate::kernels

use std::{
    hash::{Hash, Hasher},
    sync::Arc,
};

use datafusion::{
    arrow::{
        array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, Float64Array},
        buffer::{BooleanBuffer, NullBuffer},
        compute::{cast, shift},
        datatypes::{DataType, Field, FieldRef, Float64Type, Int64Type},
    },
    common::{Result, exec_err, not_impl_err},
    logical_expr::{
        PartitionEvaluator, Signature, TypeSignature, Volatility, WindowUDF, WindowUDFImpl,
        function::{PartitionEvaluatorArgs, WindowUDFFieldArgs},
    },
};

use crate::kernels::{indicators, rolling};

/// Of high, low and close.
type RangeKernel = fn(&[f64], &[f64], &[f64], usize) -> Vec<f64>;

/// A kernel, by the series and whole numbers it takes.
#[derive(Debug, Clone, Copy)]
enum Kernel {
    /// Of one series and a window.
    One(fn(&[f64], usize) -> Vec<f64>),
    /// Of two series and a window.
    Two(fn(&[f64], &[f64], usize) -> Vec<f64>),
    /// Of a series, a window and a share.
    Share(fn(&[f64], usize, f64) -> Vec<f64>),
    /// Of a series and two windows.
    Windows(fn(&[f64], usize, usize) -> Vec<f64>),
    /// Of high, low, close and a window.
    Range(RangeKernel),
    /// Of one series from its start.
    Running(fn(&[f64]) -> Vec<f64>),
    /// Of two series from their start.
    RunningTwo(fn(&[f64], &[f64]) -> Vec<f64>),
}

/// Returns all functions with their names and what they compute.
pub(crate) fn functions() -> Vec<WindowUDF> {
    let kernels = FUNCTIONS.iter();
    let kernels = kernels.map(|&(name, kernel, _)| WindowUDF::from(Function::new(name, kernel)));
    kernels.chain([WindowUDF::from(Lag::new())]).collect()
}

/// Returns name, arguments and meaning of each function, for people.
pub fn describe() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    FUNCTIONS.iter().map(|&(name, kernel, meaning)| (name, kernel.arguments(), meaning))
}

#[rustfmt::skip]
const FUNCTIONS: &[(&str, Kernel, &str)] = &[
    ("ts_sum", Kernel::One(rolling::sum), "sum of the last n rows"),
    ("ts_mean", Kernel::One(rolling::mean), "mean"),
    ("ts_std", Kernel::One(|x, n| rolling::std(x, n, 1)), "sample standard deviation"),
    ("ts_std_pop", Kernel::One(|x, n| rolling::std(x, n, 0)), "population standard deviation"),
    ("ts_min", Kernel::One(rolling::min), "smallest value"),
    ("ts_max", Kernel::One(rolling::max), "largest value"),
    ("ts_idx_min", Kernel::One(rolling::idx_min), "place of the smallest value, 1 the oldest row"),
    ("ts_idx_max", Kernel::One(rolling::idx_max), "place of the largest value, 1 the oldest row"),
    ("ts_rank", Kernel::One(rolling::rank), "rank of the latest value as a share, ties by their mean"),
    ("ts_quantile", Kernel::Share(rolling::quantile), "quantile, linear between order statistics"),
    ("ts_slope", Kernel::One(rolling::slope), "slope of the least-squares line, per row"),
    ("ts_rsquare", Kernel::One(rolling::r_square), "share of variance the line explains"),
    ("ts_resid", Kernel::One(rolling::residual), "distance of the latest value from the line"),
    ("ts_corr", Kernel::Two(rolling::correlation), "Pearson correlation"),
    ("ts_beta", Kernel::Two(rolling::beta), "slope of the first series on the second"),
    ("ts_max_drawdown", Kernel::One(rolling::max_drawdown), "largest fall from a peak, negative"),
    ("ema", Kernel::One(indicators::ema), "exponential mean, seeded by the mean of n rows"),
    ("rsi_wilder", Kernel::One(indicators::rsi_wilder), "Wilder's relative strength index, 0 to 100"),
    ("macd", Kernel::Windows(indicators::macd), "EMA over n rows less EMA over m rows, as TA-Lib seeds them"),
    ("atr_wilder", Kernel::Range(indicators::atr_wilder), "Wilder's average true range"),
    ("obv", Kernel::RunningTwo(indicators::obv), "on-balance volume from the first row"),
    ("running_product", Kernel::Running(indicators::running_product), "product of all rows so far"),
];

impl Kernel {
    /// How many series come first, then how many whole numbers, then how many shares.
    const fn shape(self) -> (usize, usize, usize) {
        match self {
            Self::One(_) => (1, 1, 0),
            Self::Two(_) => (2, 1, 0),
            Self::Share(_) => (1, 1, 1),
            Self::Windows(_) => (1, 2, 0),
            Self::Range(_) => (3, 1, 0),
            Self::Running(_) => (1, 0, 0),
            Self::RunningTwo(_) => (2, 0, 0),
        }
    }

    const fn arguments(self) -> &'static str {
        match self {
            Self::One(_) => "x, n",
            Self::Two(_) => "x, y, n",
            Self::Share(_) => "x, n, q",
            Self::Windows(_) => "x, n, m",
            Self::Range(_) => "high, low, close, n",
            Self::Running(_) => "x",
            Self::RunningTwo(_) => "x, y",
        }
    }

    fn run(self, series: &[Vec<f64>], numbers: &[usize], shares: &[f64]) -> Option<Vec<f64>> {
        Some(match (self, series, numbers, shares) {
            (Self::One(f), [x], [n], []) => f(x, *n),
            (Self::Two(f), [x, y], [n], []) => f(x, y, *n),
            (Self::Share(f), [x], [n], [q]) => f(x, *n, *q),
            (Self::Windows(f), [x], [n, m], []) => f(x, *n, *m),
            (Self::Range(f), [high, low, close], [n], []) => f(high, low, close, *n),
            (Self::Running(f), [x], [], []) => f(x),
            (Self::RunningTwo(f), [x, y], [], []) => f(x, y),
            _ => return None,
        })
    }
}

#[derive(Debug)]
struct Function {
    name: &'static str,
    kernel: Kernel,
    signature: Signature,
}

impl Function {
    fn new(name: &'static str, kernel: Kernel) -> Self {
        let (series, numbers, shares) = kernel.shape();
        let mut arguments = vec![DataType::Float64; series];
        arguments.extend(vec![DataType::Int64; numbers]);
        arguments.extend(vec![DataType::Float64; shares]);
        Self { name, kernel, signature: Signature::exact(arguments, Volatility::Immutable) }
    }
}

/// A name stands for one kernel.
impl PartialEq for Function {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Function {}

impl Hash for Function {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl WindowUDFImpl for Function {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn partition_evaluator(
        &self,
        _: PartitionEvaluatorArgs<'_>,
    ) -> Result<Box<dyn PartitionEvaluator>> {
        Ok(Box::new(Evaluator { name: self.name, kernel: self.kernel }))
    }

    fn field(&self, arguments: WindowUDFFieldArgs<'_>) -> Result<FieldRef> {
        Ok(Arc::new(Field::new(arguments.name(), DataType::Float64, true)))
    }
}

#[derive(Debug)]
struct Evaluator {
    name: &'static str,
    kernel: Kernel,
}

impl PartitionEvaluator for Evaluator {
    fn evaluate_all(&mut self, values: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
        let (series, numbers, _) = self.kernel.shape();
        let (series, rest) = values.split_at(series.min(values.len()));
        let (numbers, shares) = rest.split_at(numbers.min(rest.len()));
        let series: Vec<Vec<f64>> = series.iter().map(floats).collect();
        let numbers = numbers.iter().map(|column| self.window(column));
        let numbers = numbers.collect::<Result<Vec<_>>>()?;
        let shares = shares.iter().map(|column| self.share(column));
        let shares = shares.collect::<Result<Vec<_>>>()?;
        let Some(out) = self.kernel.run(&series, &numbers, &shares) else {
            return exec_err!("{}({}) got other arguments", self.name, self.kernel.arguments());
        };
        debug_assert_eq!(out.len(), rows, "{}", self.name);
        let defined = BooleanBuffer::collect_bool(out.len(), |row| !out[row].is_nan());
        let defined = Some(NullBuffer::new(defined)).filter(|defined| defined.null_count() > 0);
        Ok(Arc::new(Float64Array::new(out.into(), defined)))
    }
}

impl Evaluator {
    fn window(&self, column: &ArrayRef) -> Result<usize> {
        let first = constant::<Int64Type>(self.name, column)?.unwrap_or(0);
        match usize::try_from(first) {
            Ok(n) if (1..=10_000).contains(&n) => Ok(n),
            _ => exec_err!("{} takes windows of 1 to 10,000 rows, not {first}", self.name),
        }
    }

    fn share(&self, column: &ArrayRef) -> Result<f64> {
        let share = constant::<Float64Type>(self.name, column)?.unwrap_or(f64::NAN);
        if (0.0..=1.0).contains(&share) {
            return Ok(share);
        }
        exec_err!("{} takes a share of 0 to 1, not {share}", self.name)
    }
}

/// Returns the value of an argument, which must be the same in all rows; none where it is
/// null.
fn constant<T: ArrowPrimitiveType>(name: &str, column: &ArrayRef) -> Result<Option<T::Native>> {
    let values = column.as_primitive::<T>();
    let is_constant = match values.null_count() {
        0 => values.values().windows(2).all(|pair| pair[0] == pair[1]),
        nulls => nulls == values.len(),
    };
    if !is_constant {
        return exec_err!("{name} takes the same number in all rows, not one that changes");
    }
    Ok(values.iter().next().flatten())
}

fn floats(column: &ArrayRef) -> Vec<f64> {
    let column = column.as_primitive::<Float64Type>();
    if column.null_count() == 0 {
        return column.values().to_vec();
    }
    column.iter().map(|v| v.unwrap_or(f64::NAN)).collect()
}

/// SQL's `lag(value, n)` with n 1 by default, in the place of DataFusion's, which takes it
/// row by row.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Lag {
    signature: Signature,
}

impl Lag {
    fn new() -> Self {
        let signatures = vec![TypeSignature::Any(1), TypeSignature::Any(2)];
        Self { signature: Signature::one_of(signatures, Volatility::Immutable) }
    }
}

impl WindowUDFImpl for Lag {
    fn name(&self) -> &str {
        "lag"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn partition_evaluator(
        &self,
        arguments: PartitionEvaluatorArgs<'_>,
    ) -> Result<Box<dyn PartitionEvaluator>> {
        if arguments.ignore_nulls() {
            return not_impl_err!("lag ... IGNORE NULLS");
        }
        Ok(Box::new(LagEvaluator))
    }

    fn field(&self, arguments: WindowUDFFieldArgs<'_>) -> Result<FieldRef> {
        let data_type = arguments.get_input_field(0).map(|field| field.data_type().clone());
        let data_type = data_type.unwrap_or(DataType::Null);
        Ok(Arc::new(Field::new(arguments.name(), data_type, true)))
    }
}

#[derive(Debug)]
struct LagEvaluator;

impl PartitionEvaluator for LagEvaluator {
    fn evaluate_all(&mut self, values: &[ArrayRef], _: usize) -> Result<ArrayRef> {
        let Some((values, rows)) = values.split_first() else {
            return exec_err!("lag takes a value");
        };
        let rows = match rows.first() {
            Some(rows) => {
                constant::<Int64Type>("lag", &cast(rows, &DataType::Int64)?)?.unwrap_or_default()
            }
            None => 1,
        };
        match rows {
            0.. => Ok(shift(values, rows)?),
            _ => exec_err!("lag looks back 0 rows or more, not {rows}"),
        }
    }
}
