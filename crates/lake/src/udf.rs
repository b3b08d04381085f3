//! Kernels that SQL cannot express, as aggregate functions.

use datafusion::{
    arrow::{
        array::{Array, ArrayRef, AsArray},
        datatypes::{DataType, Field, FieldRef, Float64Type, Int64Type},
    },
    common::{Result, ScalarValue, exec_err},
    logical_expr::{
        Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility,
        function::{AccumulatorArgs, StateFieldsArgs},
    },
};

use crate::rsi::rsi_wilder;

/// Returns `wilder_rsi(close, n ORDER BY time)`.
pub(crate) fn wilder_rsi() -> AggregateUDF {
    let arguments = vec![DataType::Float64, DataType::Int64];
    AggregateUDF::from(WilderRsi { signature: Signature::exact(arguments, Volatility::Immutable) })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct WilderRsi {
    signature: Signature,
}

impl AggregateUDFImpl for WilderRsi {
    fn name(&self) -> &str {
        "wilder_rsi"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn accumulator(&self, _: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Closes::default()))
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let list = Field::new_list_field(DataType::Float64, true);
        Ok(vec![
            Field::new_list(format!("{}_closes", args.name), list, true).into(),
            Field::new(format!("{}_n", args.name), DataType::Int64, true).into(),
        ])
    }
}

/// Collects closes in the order the engine sorts them.
#[derive(Debug, Default)]
struct Closes {
    closes: Vec<f64>,
    n: Option<i64>,
}

impl Accumulator for Closes {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.closes.extend(values[0].as_primitive::<Float64Type>().iter().flatten());
        let n = values[1].as_primitive::<Int64Type>();
        self.n = self.n.or_else(|| n.iter().flatten().next());
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let n = self.n.and_then(|n| usize::try_from(n).ok()).unwrap_or_default();
        Ok(ScalarValue::Float64(rsi_wilder(&self.closes, n)))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.closes.capacity() * size_of::<f64>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let closes: Vec<_> = self.closes.iter().map(|c| ScalarValue::Float64(Some(*c))).collect();
        let list = ScalarValue::new_list_nullable(&closes, &DataType::Float64);
        Ok(vec![ScalarValue::List(list), ScalarValue::Int64(self.n)])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let lists = states[0].as_list::<i32>();
        if !self.closes.is_empty() || lists.len() > 1 {
            // Parts of a series have no order among each other.
            return exec_err!("wilder_rsi cannot merge partial states");
        }
        for closes in lists.iter().flatten() {
            self.closes.extend(closes.as_primitive::<Float64Type>().iter().flatten());
        }
        let n = states[1].as_primitive::<Int64Type>();
        self.n = self.n.or_else(|| n.iter().flatten().next());
        Ok(())
    }
}
