//! Graphs: what a device is to compute.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    ffi::CStr,
    ptr,
    rc::{Rc, Weak},
};

use llama_cpp_sys_2 as sys;

use super::{Backend, DeviceKind, Tensor, memory::Arena, transpose::transpose};
use crate::EngineError;

/// Device memory for the nodes of one graph after the other.
pub struct Scratch {
    allocator: sys::ggml_gallocr_t,
    /// The graph that lies here; gone when the last handle to a node of it is.
    occupant: RefCell<Weak<Arena>>,
    census: RefCell<BTreeMap<&'static str, u64>>,
    /// Last, so that it is closed after the memory on it is freed.
    _backend: Rc<Backend>,
}

impl Scratch {
    /// Makes an empty scratch, which grows to what graphs need.
    pub fn new(backend: &Rc<Backend>) -> Rc<Self> {
        // SAFETY: the backend is alive, and the value made here keeps it so.
        let allocator = unsafe {
            sys::ggml_gallocr_new(sys::ggml_backend_get_default_buffer_type(backend.raw))
        };
        Rc::new(Self {
            allocator,
            occupant: RefCell::default(),
            census: RefCell::default(),
            _backend: Rc::clone(backend),
        })
    }

    /// Returns the size of the memory in bytes.
    pub fn bytes(&self) -> usize {
        // SAFETY: the allocator is alive and has one buffer.
        unsafe { sys::ggml_gallocr_get_buffer_size(self.allocator, 0) }
    }

    /// Returns how many nodes of each operation were computed here.
    pub fn census(&self) -> BTreeMap<&'static str, u64> {
        self.census.borrow().clone()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // SAFETY: made in `new`, freed once; the arena of a graph that lies here
        // holds an `Rc` of this value and is gone.
        unsafe { sys::ggml_gallocr_free(self.allocator) };
    }
}

/// `GGML_N_TASKS_MAX`: a custom node takes the threads there are.
const ALL_THREADS: i32 = -1;

/// Rotary position embedding (Su et al. 2021, arXiv:2104.09864).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rope {
    /// Dimensions of a head that are rotated.
    pub dimensions: usize,
    /// Base of the frequencies.
    pub base: f32,
    /// Whether dimension `i` is paired with `i + dimensions / 2` instead of `i + 1`.
    pub is_neox: bool,
}

/// A graph under construction. Operations append nodes and return their results;
/// only what [`Graph::expand`] was called for, or depends on, is computed.
pub struct Graph {
    arena: Rc<Arena>,
    raw: *mut sys::ggml_cgraph,
    backend: Rc<Backend>,
    retained: RefCell<Vec<*mut sys::ggml_tensor>>,
}

impl Graph {
    /// Starts a graph of at most `nodes` nodes.
    pub fn new(backend: &Rc<Backend>, nodes: usize) -> Self {
        // SAFETY: only computes a size.
        let bytes = unsafe { sys::ggml_graph_overhead_custom(nodes, false) };
        let arena = Arena::new(backend, nodes, bytes);
        // SAFETY: the context is alive and has room for the graph.
        let raw = unsafe { sys::ggml_new_graph_custom(arena.context, nodes, false) };
        Self { arena, raw, backend: Rc::clone(backend), retained: RefCell::default() }
    }

    /// Has a node computed, after all that were expanded before it.
    pub fn expand(&self, node: &Tensor) {
        self.keep(node);
        // SAFETY: graph and node are alive; what the node reads is kept.
        unsafe { sys::ggml_build_forward_expand(self.raw, node.raw) };
    }

    /// Keeps the numbers of a node after the graph was computed, until the last
    /// handle to it is gone.
    pub fn retain(&self, node: &Tensor) {
        self.expand(node);
        // SAFETY: nodes and what they are views of live as long as the arena.
        unsafe {
            let mut root = node.raw;
            while !(*root).view_src.is_null() {
                root = (*root).view_src;
            }
            sys::ggml_set_output(root);
            sys::ggml_set_output(node.raw);
        }
        self.retained.borrow_mut().push(node.raw);
    }

    /// Computes the graph. Handles to nodes that are kept occupy the scratch.
    ///
    /// # Errors
    /// Fails when the device lacks an operation or memory, or reports a fault.
    ///
    /// # Panics
    /// Panics when handles to nodes of the last graph on `scratch` are left.
    pub fn compute(self, scratch: &Rc<Scratch>) -> Result<(), EngineError> {
        assert!(scratch.occupant.borrow().strong_count() == 0, "the scratch is free");
        self.check_support(scratch)?;
        let device = || self.backend.device().name();
        // SAFETY: graph, allocator and backend are alive. The allocator plans anew for
        // every graph: its own check compares sizes, not who reads what.
        let is_placed = unsafe {
            sys::ggml_gallocr_reserve(scratch.allocator, self.raw)
                && sys::ggml_gallocr_alloc_graph(scratch.allocator, self.raw)
        };
        if !is_placed {
            let (free, _) = self.backend.device().memory();
            return Err(EngineError::Memory { device: device(), free });
        }
        *self.arena.scratch.borrow_mut() = Some(Rc::clone(scratch));
        *scratch.occupant.borrow_mut() = Rc::downgrade(&self.arena);
        // SAFETY: every node has memory now; what the graph reads is kept.
        let status = unsafe { sys::ggml_backend_graph_compute(self.backend.raw, self.raw) };
        match status {
            sys::GGML_STATUS_SUCCESS => {
                self.detach();
                Ok(())
            }
            status => Err(EngineError::Compute { device: device(), status }),
        }
    }

    /// Makes the retained nodes inputs of later graphs, which would else compute them
    /// and all they depend on again.
    fn detach(&self) {
        for &node in self.retained.borrow().iter() {
            // SAFETY: nodes live as long as the arena, which `self` holds; they have
            // their numbers, and memory of their own or of what they were views of,
            // which was retained with them.
            unsafe {
                (*node).op = sys::GGML_OP_NONE;
                (*node).src = [ptr::null_mut(); 10];
                (*node).view_src = ptr::null_mut();
                (*node).view_offs = 0;
            }
        }
    }

    fn check_support(&self, scratch: &Scratch) -> Result<(), EngineError> {
        let mut lacking = Vec::new();
        let mut census = scratch.census.borrow_mut();
        // SAFETY: the graph is alive and has as many nodes as it says; descriptions of
        // operations are static.
        unsafe {
            for i in 0..sys::ggml_graph_n_nodes(self.raw) {
                let node = sys::ggml_graph_node(self.raw, i);
                let name: &'static CStr = CStr::from_ptr(sys::ggml_op_desc(node));
                let name = name.to_str().unwrap_or("?");
                *census.entry(name).or_default() += 1;
                if !sys::ggml_backend_supports_op(self.backend.raw, node) {
                    lacking.push(name);
                }
            }
        }
        lacking.sort_unstable();
        lacking.dedup();
        if lacking.is_empty() {
            return Ok(());
        }
        let device = self.backend.device().name();
        Err(EngineError::Unsupported { device, operations: lacking.join(", ") })
    }

    fn keep(&self, tensor: &Tensor) {
        if Rc::ptr_eq(&tensor.owner, &self.arena) {
            return;
        }
        let mut keeps = self.arena.keeps.borrow_mut();
        if !keeps.iter().any(|kept| Rc::ptr_eq(kept, &tensor.owner)) {
            keeps.push(Rc::clone(&tensor.owner));
        }
    }

    fn node(&self, raw: *mut sys::ggml_tensor) -> Tensor {
        Tensor { raw, owner: Rc::clone(&self.arena) }
    }

    fn unary(
        &self,
        a: &Tensor,
        op: impl FnOnce(*mut sys::ggml_context, *mut sys::ggml_tensor) -> *mut sys::ggml_tensor,
    ) -> Tensor {
        self.keep(a);
        self.node(op(self.arena.context, a.raw))
    }

    fn binary(
        &self,
        a: &Tensor,
        b: &Tensor,
        op: unsafe extern "C" fn(
            *mut sys::ggml_context,
            *mut sys::ggml_tensor,
            *mut sys::ggml_tensor,
        ) -> *mut sys::ggml_tensor,
    ) -> Tensor {
        self.keep(a);
        self.keep(b);
        // SAFETY: context and both tensors are alive and kept; ggml checks shapes.
        self.node(unsafe { op(self.arena.context, a.raw, b.raw) })
    }
}

/// Operations. Here and below SAFETY is that of `binary`: the context and the
/// operands are alive and kept by the graph, ggml checks shapes.
impl Graph {
    /// `[k, n] x [k, m] -> [n, m]`: the scalar products of the rows.
    pub fn mul_mat(&self, a: &Tensor, b: &Tensor) -> Tensor {
        self.binary(a, b, sys::ggml_mul_mat)
    }

    /// `[n, k] x [m, k] -> [n, m]`: the sum of the outer products of the rows. For 32 bits.
    pub fn out_prod(&self, a: &Tensor, b: &Tensor) -> Tensor {
        self.binary(a, b, sys::ggml_out_prod)
    }

    /// `a + b`, with `b` repeated where it is shorter.
    pub fn add(&self, a: &Tensor, b: &Tensor) -> Tensor {
        self.binary(a, b, sys::ggml_add)
    }

    /// `a * b` number by number, with `b` repeated where it is shorter.
    pub fn mul(&self, a: &Tensor, b: &Tensor) -> Tensor {
        self.binary(a, b, sys::ggml_mul)
    }

    /// Adds `b` to what `a` holds.
    pub fn accumulate(&self, a: &Tensor, b: &Tensor) {
        self.expand(&self.binary(a, b, sys::ggml_add_inplace));
    }

    /// Writes `a` to where `b` lies, and returns `b` as it is after that.
    pub fn copy(&self, a: &Tensor, b: &Tensor) -> Tensor {
        self.binary(a, b, sys::ggml_cpy)
    }

    /// `silu(gate) * up`.
    pub fn swiglu(&self, gate: &Tensor, up: &Tensor) -> Tensor {
        self.binary(gate, up, sys::ggml_swiglu_split)
    }

    /// The gradient of `silu(x)` for that of its result.
    pub fn silu_back(&self, dy: &Tensor, x: &Tensor) -> Tensor {
        self.binary(dy, x, sys::ggml_silu_back)
    }

    /// Rows of `a`, as numbers of 32 bits whatever the format of `a`.
    pub fn get_rows(&self, a: &Tensor, indices: &Tensor) -> Tensor {
        self.binary(a, indices, sys::ggml_get_rows)
    }

    /// Overwrites rows of `a` in place and returns `a` as it is after that.
    pub fn set_rows(&self, a: &Tensor, rows: &Tensor, indices: &Tensor) -> Tensor {
        self.keep(a);
        self.keep(rows);
        self.keep(indices);
        // SAFETY: see above.
        self.node(unsafe { sys::ggml_set_rows(self.arena.context, a.raw, rows.raw, indices.raw) })
    }

    /// `x * factor`.
    pub fn scale(&self, x: &Tensor, factor: f32) -> Tensor {
        // SAFETY: see above.
        self.unary(x, |context, x| unsafe { sys::ggml_scale(context, x, factor) })
    }

    /// `x - 1`.
    pub fn sub_one(&self, x: &Tensor) -> Tensor {
        // SAFETY: see above.
        self.unary(x, |context, x| unsafe { sys::ggml_scale_bias(context, x, 1.0, -1.0) })
    }

    /// `silu(x) = x / (1 + exp(-x))`.
    pub fn silu(&self, x: &Tensor) -> Tensor {
        // SAFETY: see above.
        self.unary(x, |context, x| unsafe { sys::ggml_silu(context, x) })
    }

    /// The sum of each row: `[n, m] -> [1, m]`.
    pub fn sum_rows(&self, x: &Tensor) -> Tensor {
        // SAFETY: see above.
        self.unary(x, |context, x| unsafe { sys::ggml_sum_rows(context, x) })
    }

    /// Rows divided by their root mean square (Zhang and Sennrich 2019, arXiv:1910.07467).
    pub fn rms_norm(&self, x: &Tensor, epsilon: f32) -> Tensor {
        // SAFETY: see above.
        self.unary(x, |context, x| unsafe { sys::ggml_rms_norm(context, x, epsilon) })
    }

    /// The gradient of [`Graph::rms_norm`] for that of its result.
    pub fn rms_norm_back(&self, dy: &Tensor, x: &Tensor, epsilon: f32) -> Tensor {
        self.keep(x);
        // SAFETY: see above.
        self.unary(dy, |context, dy| unsafe {
            sys::ggml_rms_norm_back(context, dy, x.raw, epsilon)
        })
    }

    /// `softmax(x * scale + mask)` of each row.
    pub fn soft_max(&self, x: &Tensor, mask: Option<&Tensor>, scale: f32) -> Tensor {
        let mask = mask.map_or(ptr::null_mut(), |mask| {
            self.keep(mask);
            mask.raw
        });
        // SAFETY: see above.
        self.unary(x, |context, x| unsafe { sys::ggml_soft_max_ext(context, x, mask, scale, 0.0) })
    }

    /// The gradient of [`Graph::soft_max`] for that of its result `p`.
    pub fn soft_max_back(&self, dp: &Tensor, p: &Tensor, scale: f32) -> Tensor {
        self.keep(p);
        // SAFETY: see above.
        self.unary(dp, |context, dp| unsafe {
            sys::ggml_soft_max_ext_back(context, dp, p.raw, scale, 0.0)
        })
    }

    /// Rotates `[head, heads, tokens]` by the positions of the tokens, or back.
    /// `factors` divide the frequencies where a model has them.
    pub fn rope(
        &self,
        x: &Tensor,
        positions: &Tensor,
        factors: Option<&Tensor>,
        rope: Rope,
        is_back: bool,
    ) -> Tensor {
        self.keep(positions);
        let factors = factors.map_or(ptr::null_mut(), |factors| {
            self.keep(factors);
            factors.raw
        });
        let op = if is_back { sys::ggml_rope_ext_back } else { sys::ggml_rope_ext };
        let mode = if rope.is_neox { sys::LLAMA_ROPE_TYPE_NEOX } else { sys::LLAMA_ROPE_TYPE_NORM };
        let dimensions = i32::try_from(rope.dimensions).unwrap_or(i32::MAX);
        // SAFETY: see above. What follows the base is YaRN, which is off.
        self.unary(x, |context, x| unsafe {
            op(
                context,
                x,
                positions.raw,
                factors,
                dimensions,
                mode,
                0,
                rope.base,
                1.0,
                0.0,
                1.0,
                32.0,
                1.0,
            )
        })
    }

    /// The same numbers in another shape.
    pub fn reshape(&self, x: &Tensor, shape: [usize; 3]) -> Tensor {
        let [a, b, c] = shape.map(|n| n as i64);
        // SAFETY: see above.
        self.unary(x, |context, x| unsafe { sys::ggml_reshape_3d(context, x, a, b, c) })
    }

    /// Dimension `i` of `x` becomes dimension `axes[i]`, and the result is contiguous.
    pub fn permute(&self, x: &Tensor, axes: [i32; 3]) -> Tensor {
        let [a, b, c] = axes;
        // SAFETY: see above.
        self.unary(x, |context, x| unsafe {
            sys::ggml_cont(context, sys::ggml_permute(context, x, a, b, c, 3))
        })
    }

    /// `[n, m, k] -> [m, n, k]`, contiguous.
    pub fn transpose(&self, x: &Tensor) -> Tensor {
        let is_on_cpu = self.backend.device().kind() == DeviceKind::Cpu;
        let [n, m, k] = [0, 1, 2].map(|i| x.ne(i));
        // SAFETY: see above; `transpose` is given what it asks for.
        self.unary(x, |context, mut x| unsafe {
            if is_on_cpu && (*x).type_ == sys::GGML_TYPE_F32 && sys::ggml_is_contiguous(x) {
                let (kind, all) = (sys::GGML_TYPE_F32, ALL_THREADS);
                let (of, none) = (&raw mut x, ptr::null_mut());
                sys::ggml_custom_4d(context, kind, m, n, k, 1, of, 1, Some(transpose), all, none)
            } else {
                sys::ggml_cont(context, sys::ggml_transpose(context, x))
            }
        })
    }

    /// Rows `first..first + count` of `x`, in place.
    ///
    /// # Panics
    /// Panics when `x` has fewer rows.
    pub fn rows(&self, x: &Tensor, first: usize, count: usize) -> Tensor {
        assert!(first + count <= x.shape()[1], "rows of the tensor");
        let (width, stride) = (x.ne(0), x.row_stride());
        // SAFETY: see above; the rows lie within the tensor.
        self.unary(x, |context, x| unsafe {
            sys::ggml_view_2d(context, x, width, count as i64, stride, first * stride)
        })
    }

    /// The first `count` numbers of a vector, in place.
    ///
    /// # Panics
    /// Panics when `x` is shorter.
    pub fn head(&self, x: &Tensor, count: usize) -> Tensor {
        assert!(count <= x.shape()[0], "numbers of the tensor");
        // SAFETY: see above; the numbers lie within the tensor.
        self.unary(x, |context, x| unsafe { sys::ggml_view_1d(context, x, count as i64, 0) })
    }
}
