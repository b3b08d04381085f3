//! A frozen matrix with a low-rank pair beside it: `y = W x + s B (A x)`.

use super::{
    adapter::Pair,
    ggml::{Graph, Kind, Tensor},
};

/// A matrix of the base model that is not trained.
#[derive(Debug, Clone)]
pub(crate) struct Frozen {
    /// `[in, out]`, in the format it was loaded in.
    pub(super) weight: Tensor,
    /// `[out, in]`, where memory is spent for a faster backward pass.
    pub(super) transposed: Option<Tensor>,
    /// The numbers from 0: [`Graph::get_rows`] of all rows converts any format on
    /// any device, where a plain copy lacks some.
    pub(super) row_numbers: Tensor,
}

impl Frozen {
    /// The matrix as numbers of 32 bits.
    pub(super) fn dequantised(&self, g: &Graph) -> Tensor {
        if self.weight.kind() == Kind::F32 {
            return self.weight.clone();
        }
        g.get_rows(&self.weight, &g.head(&self.row_numbers, self.weight.shape()[1]))
    }

    /// The gradient of `x` for that of `W x`: `[out, n] -> [in, n]`.
    pub(super) fn backward(&self, g: &Graph, dy: &Tensor) -> Tensor {
        match &self.transposed {
            Some(transposed) => g.mul_mat(transposed, dy),
            None => g.mul_mat(&g.transpose(&self.dequantised(g)), dy),
        }
    }
}

/// A target of the adapter.
#[derive(Debug, Clone)]
pub(super) struct Linear {
    pub(super) frozen: Frozen,
    pub(super) pair: Pair,
    /// `alpha / rank`.
    pub(super) scale: f32,
}

impl Linear {
    /// `x [in, n] -> y [out, n]`, and `u = A x [rank, n]` for the way back.
    pub(super) fn forward(&self, g: &Graph, x: &Tensor) -> (Tensor, Tensor) {
        let u = g.mul_mat(&self.pair.a, x);
        // Sums over a rank are outer products: kernels of scalar products are made for long rows.
        let added = g.out_prod(&g.transpose(&self.pair.b), &g.transpose(&u));
        let added = g.scale(&added, self.scale);
        (g.add(&g.mul_mat(&self.frozen.weight, x), &added), u)
    }

    /// Adds to the gradients of A and B. With v = s B' dy: dA += x v', dB += s u dy'.
    /// Returns v `[rank, n]`.
    pub(super) fn adapter_back(&self, g: &Graph, x: &Tensor, u: &Tensor, dy: &Tensor) -> Tensor {
        let v = g.scale(&g.mul_mat(&g.transpose(&self.pair.b), dy), self.scale);
        let grad_b = g.transpose(&g.out_prod(dy, u));
        g.accumulate(&self.pair.grad_b, &g.scale(&grad_b, self.scale));
        g.accumulate(&self.pair.grad_a, &g.out_prod(x, &v));
        v
    }

    /// As [`Linear::adapter_back`], and returns dx = W' dy + A' v `[in, n]`.
    pub(super) fn backward(&self, g: &Graph, x: &Tensor, u: &Tensor, dy: &Tensor) -> Tensor {
        let v = self.adapter_back(g, x, u, dy);
        g.add(&self.frozen.backward(g, dy), &g.out_prod(&self.pair.a, &g.transpose(&v)))
    }
}
