//! What a stage closure may return.

use super::Failure;

/// What a stage closure may return: `()` or `Result<(), Failure>`.
///
/// A generic error type would not infer (`Ok(())` alone does not name it), so there is one implementation
/// per shape, and one for closures that never return.
#[diagnostic::on_unimplemented(
    message = "a stage closure returns `()` or `Result<(), minigun::Failure>`, not `{Self}`",
    note = "a function with its own error type goes in as `|x, out| Ok(f(x)?)`; to pass a value on, use `map`/`try_map` or `out.emit(value)`"
)]
pub trait StageResult {
    #[doc(hidden)]
    fn into_result(self) -> Result<(), Failure>;
}

impl StageResult for () {
    #[inline]
    fn into_result(self) -> Result<(), Failure> {
        Ok(())
    }
}

impl StageResult for Result<(), Failure> {
    #[inline]
    fn into_result(self) -> Result<(), Failure> {
        self
    }
}

/// `|_| panic!()` and `|_| abort()`: edition 2024 infers `!`, which stable Rust can name only as the
/// output of a function pointer.
impl StageResult for <fn() -> ! as FnOutput>::Output {
    fn into_result(self) -> Result<(), Failure> {
        self
    }
}

#[doc(hidden)]
pub trait FnOutput {
    type Output;
}

impl<R> FnOutput for fn() -> R {
    type Output = R;
}
