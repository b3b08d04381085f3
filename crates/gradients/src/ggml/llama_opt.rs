//! Gradients by the training hooks of llama.cpp itself: an oracle for those of this crate.
//!
//! The hooks differentiate the graph that serves, with ggml's own way back. They take a text of
//! one length, cross-entropy and nothing else, take more memory and twice the time, and
//! their accumulators are never cleared between steps; so nothing is trained with them.

use std::{cell::RefCell, ffi::c_void, os::unix::ffi::OsStrExt as _, path::Path, ptr, slice};

use llama_cpp_sys_2 as sys;

use super::{device::text, gguf::c_string};
use crate::{EngineError, Matrix};

/// Tokens of a pass. Keys and values get gradients only where a batch fills the context, which
/// llama.cpp rounds up to this.
pub const HOOK_TOKENS: usize = 256;

/// What the hooks find for a text.
#[derive(Debug, Clone, PartialEq)]
pub struct HookPass {
    /// Mean cross-entropy of what follows each token, in nats.
    pub loss: f64,
    /// Its gradient, by matrix of the adapter, in order of names.
    pub gradients: Vec<Matrix>,
}

/// Something of llama.cpp's that is freed with a function of its own.
struct Owned<T>(*mut T, unsafe extern "C" fn(*mut T));

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: the pointer came from the constructor that belongs to the function, was
        // checked, and is freed once.
        unsafe { (self.1)(self.0) };
    }
}

/// What the callbacks of a pass see: that of an epoch has no room for a pointer.
struct Hooks {
    optimizer: sys::ggml_opt_context_t,
    matrices: Vec<(String, *mut sys::ggml_tensor)>,
    /// What their gradients are added to; it outlives the graph through which it is found.
    sums: Vec<*mut sys::ggml_tensor>,
    gradients: Vec<Matrix>,
}

impl Hooks {
    const fn new() -> Self {
        let optimizer = ptr::null_mut();
        Self { optimizer, matrices: Vec::new(), sums: Vec::new(), gradients: Vec::new() }
    }
}

thread_local! {
    static HOOKS: RefCell<Hooks> = const { RefCell::new(Hooks::new()) };
}

/// Computes the loss of a text of [`HOOK_TOKENS`] tokens and the one that follows them, and the
/// gradient of an adapter's matrices, over a base as its file has it.
///
/// # Errors
/// Fails when llama.cpp refuses a file, or the text has another length.
pub fn llama_opt(
    base: &Path,
    adapter: &Path,
    tokens: &[u32],
    threads: usize,
) -> Result<HookPass, EngineError> {
    let ids: Vec<i32> = tokens.iter().map(|&token| i32::try_from(token).unwrap_or(-1)).collect();
    if ids.len() != HOOK_TOKENS + 1 || ids.contains(&-1) {
        let detail = format!("it has {} tokens, the hooks take {}", ids.len(), HOOK_TOKENS + 1);
        return Err(EngineError::Batch { detail });
    }
    HOOKS.set(Hooks::new());
    // SAFETY: the pointers that are used are those of the constructors, checked for null and
    // freed in the opposite order; callbacks run on this thread, while all of them live.
    unsafe {
        sys::llama_backend_init();
        let model = load(base)?;
        let vocabulary = sys::llama_vocab_n_tokens(sys::llama_model_get_vocab(model.0));
        if let Some(id) = ids.iter().find(|id| **id >= vocabulary) {
            let detail = format!("token {id} is beyond the vocabulary of {vocabulary}");
            return Err(EngineError::Batch { detail });
        }
        let lora = sys::llama_adapter_lora_init(
            model.0,
            c_string(adapter.as_os_str().as_bytes()).as_ptr(),
        );
        if lora.is_null() {
            return Err(EngineError::gguf(adapter, "llama.cpp refuses it for this base"));
        }
        let lora = Owned(lora, sys::llama_adapter_lora_free);
        find_matrices(base, &model, &lora, threads)?;
        let context = open(base, &model, &lora, threads, None)?;
        // The hooks never set threads, a decode does.
        decode(&context);
        train(&model, &context, &ids)
    }
}

/// # Safety
/// The backend of llama.cpp is initialised.
unsafe fn load(base: &Path) -> Result<Owned<sys::llama_model>, EngineError> {
    // SAFETY: the parameters are the defaults but for plain memory, in which products can
    // be taken back.
    let model = unsafe {
        let mut params = sys::llama_model_default_params();
        params.use_extra_bufts = false;
        params.n_gpu_layers = 0;
        sys::llama_model_load_from_file(c_string(base.as_os_str().as_bytes()).as_ptr(), params)
    };
    if model.is_null() {
        return Err(EngineError::gguf(base, "llama.cpp cannot load it"));
    }
    Ok(Owned(model, sys::llama_model_free))
}

/// # Safety
/// Model and adapter outlive the context.
unsafe fn open(
    base: &Path,
    model: &Owned<sys::llama_model>,
    lora: &Owned<sys::llama_adapter_lora>,
    threads: usize,
    on_node: sys::ggml_backend_sched_eval_callback,
) -> Result<Owned<sys::llama_context>, EngineError> {
    let threads = i32::try_from(threads.max(1)).unwrap_or(1);
    let n = HOOK_TOKENS as u32;
    // SAFETY: the parameters are the defaults but for sizes, and both pointers are valid.
    unsafe {
        let mut params = sys::llama_context_default_params();
        (params.n_ctx, params.n_batch, params.n_ubatch) = (n, n, n);
        (params.n_seq_max, params.n_outputs_max) = (1, n);
        (params.n_threads, params.n_threads_batch) = (threads, threads);
        (params.type_k, params.type_v) = (sys::GGML_TYPE_F32, sys::GGML_TYPE_F32);
        params.flash_attn_type = sys::LLAMA_FLASH_ATTN_TYPE_DISABLED;
        params.no_perf = true;
        params.cb_eval = on_node;
        let context = sys::llama_init_from_model(model.0, params);
        if context.is_null() {
            return Err(EngineError::gguf(base, "llama.cpp has no memory for a context of it"));
        }
        let context = Owned(context, sys::llama_free);
        let (mut loras, mut scale) = ([lora.0], 1.0);
        if sys::llama_set_adapters_lora(context.0, loras.as_mut_ptr(), 1, &mut scale) != 0 {
            return Err(EngineError::gguf(base, "llama.cpp cannot set the adapter"));
        }
        Ok(context)
    }
}

/// Computes two tokens.
///
/// # Safety
/// The context is valid.
unsafe fn decode(context: &Owned<sys::llama_context>) {
    let mut ids = [0, 1];
    // SAFETY: the batch borrows the tokens, which outlive the call.
    unsafe { sys::llama_decode(context.0, sys::llama_batch_get_one(ids.as_mut_ptr(), 2)) };
}

/// Finds the adapter's matrices in the graph of a decode, for no function returns them, and marks
/// them as what gradients are taken of.
///
/// # Safety
/// As [`open`].
unsafe fn find_matrices(
    base: &Path,
    model: &Owned<sys::llama_model>,
    lora: &Owned<sys::llama_adapter_lora>,
    threads: usize,
) -> Result<(), EngineError> {
    // SAFETY: the context is dropped before what it was made of.
    let context = unsafe { open(base, model, lora, threads, Some(note_matrix)) }?;
    // SAFETY: it is valid.
    unsafe { decode(&context) };
    HOOKS.with_borrow_mut(|hooks| {
        hooks.matrices.sort();
        hooks.matrices.dedup();
        for (_, tensor) in &hooks.matrices {
            // SAFETY: a leaf of the adapter, which lives.
            unsafe { sys::ggml_set_param(*tensor) };
        }
    });
    Ok(())
}

/// Notes the matrices of an adapter among the factors of products.
unsafe extern "C" fn note_matrix(
    node: *mut sys::ggml_tensor,
    is_question: bool,
    _: *mut c_void,
) -> bool {
    // SAFETY: a node of the graph that is about to be computed; a product has two factors.
    unsafe {
        if is_question && (*node).op == sys::GGML_OP_MUL_MAT {
            let factor = (*node).src[0];
            let name = text((*factor).name.as_ptr());
            if name.ends_with(".lora_a") || name.ends_with(".lora_b") {
                HOOKS.with_borrow_mut(|hooks| hooks.matrices.push((name, factor)));
            }
        }
    }
    // Values are not asked for.
    !is_question
}

/// Runs the text forward, for its loss, then forward and back.
///
/// # Safety
/// Model and context are valid, and the tokens are of the vocabulary.
unsafe fn train(
    model: &Owned<sys::llama_model>,
    context: &Owned<sys::llama_context>,
    ids: &[i32],
) -> Result<HookPass, EngineError> {
    // SAFETY: the data set holds as many numbers as are copied; callbacks are functions of
    // this module.
    unsafe {
        let params = sys::llama_opt_params {
            n_ctx_train: 0,
            param_filter: Some(nothing_of_the_base),
            param_filter_ud: ptr::null_mut(),
            get_opt_pars: Some(before_the_way_back),
            get_opt_pars_ud: ptr::null_mut(),
            optimizer_type: sys::GGML_OPT_OPTIMIZER_TYPE_SGD,
        };
        sys::llama_opt_init(context.0, model.0, params);
        let n = HOOK_TOKENS as i64;
        let kind = sys::GGML_TYPE_I32;
        let data =
            Owned(sys::ggml_opt_dataset_init(kind, kind, n, n, 1, 1), sys::ggml_opt_dataset_free);
        let fill = |tensor: *mut sys::ggml_tensor, ids: &[i32]| {
            slice::from_raw_parts_mut((*tensor).data.cast::<i32>(), ids.len()).copy_from_slice(ids);
        };
        fill(sys::ggml_opt_dataset_data(data.0), &ids[..HOOK_TOKENS]);
        fill(sys::ggml_opt_dataset_labels(data.0), &ids[1..]);
        let result = Owned(sys::ggml_opt_result_init(), sys::ggml_opt_result_free);
        let none = ptr::null_mut();
        sys::llama_opt_epoch(context.0, data.0, none, result.0, 0, None, Some(after_a_pass));
        sys::llama_opt_epoch(context.0, data.0, none, none, 1, Some(after_a_pass), None);
        let (mut loss, mut uncertainty) = (f64::NAN, 0.0);
        sys::ggml_opt_result_loss(result.0, &mut loss, &mut uncertainty);
        let gradients = HOOKS.with_borrow_mut(|hooks| std::mem::take(&mut hooks.gradients));
        Ok(HookPass { loss, gradients })
    }
}

unsafe extern "C" fn nothing_of_the_base(_: *const sys::ggml_tensor, _: *mut c_void) -> bool {
    false
}

/// Clears what gradients are added to, and asks for a step that moves nothing.
unsafe extern "C" fn before_the_way_back(_: *mut c_void) -> sys::ggml_opt_optimizer_params {
    HOOKS.with_borrow_mut(|hooks| {
        let Hooks { optimizer, matrices, sums, .. } = hooks;
        // SAFETY: the optimizer was noted after the first pass, its graph is about to be
        // computed, and marked leaves are of it.
        let sum =
            |(_, tensor): &(String, _)| unsafe { sys::ggml_opt_grad_acc(*optimizer, *tensor) };
        sums.extend(matrices.iter().map(sum));
        for sum in sums.iter().filter(|sum| !sum.is_null()) {
            // SAFETY: the accumulators are allocated by now.
            unsafe { sys::ggml_set_zero(*sum) };
        }
    });
    // Zero is refused; this is lost in any sum.
    let alpha = 1e-30;
    sys::ggml_opt_optimizer_params {
        adamw: sys::ggml_opt_optimizer_params__bindgen_ty_1 {
            alpha,
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            wd: 0.0,
        },
        sgd: sys::ggml_opt_optimizer_params__bindgen_ty_2 { alpha, wd: 0.0 },
    }
}

/// Notes the optimizer, and copies gradients after a way back.
unsafe extern "C" fn after_a_pass(
    is_training: bool,
    optimizer: sys::ggml_opt_context_t,
    _: sys::ggml_opt_dataset_t,
    _: sys::ggml_opt_result_t,
    _: i64,
    _: i64,
    _: i64,
) {
    HOOKS.with_borrow_mut(|hooks| {
        hooks.optimizer = optimizer;
        if !is_training {
            return;
        }
        let sums = hooks.matrices.iter().zip(&hooks.sums).filter(|(_, sum)| !sum.is_null());
        for ((name, _), &sum) in sums {
            // SAFETY: the sum lives as long as the optimizer and has the shape of its matrix,
            // in F32.
            unsafe {
                let shape = [(*sum).ne[0] as usize, (*sum).ne[1] as usize];
                let mut values = vec![0.0_f32; shape[0] * shape[1]];
                let bytes = size_of_val(values.as_slice());
                sys::ggml_backend_tensor_get(sum, values.as_mut_ptr().cast(), 0, bytes);
                hooks.gradients.push((name.clone(), shape, values));
            }
        }
    });
}
