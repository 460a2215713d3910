//! The three methods that every request of a subsystem has.

/// Defines `why`, `required` and `optional` for a type with the fields `why` ([`Why`](crate::Why)) and `requirement`
/// ([`Requirement`](crate::Requirement)).
///
/// The fields are not a struct of their own: profiles refuse unknown fields, and serde can do that only for a
/// struct that is not flattened into another.
#[doc(hidden)]
#[macro_export]
macro_rules! why_and_requirement {
    ($request:ty) => {
        impl $request {
            /// Sets the reason.
            #[must_use]
            pub fn why(mut self, why: impl Into<$crate::Why>) -> Self {
                self.why = why.into();
                self
            }

            /// Makes it an error if the request does not apply.
            #[must_use]
            pub fn required(mut self) -> Self {
                self.requirement = $crate::Requirement::Required;
                self
            }

            /// Never makes it an error, even in strict mode, if the request does not apply.
            #[must_use]
            pub fn optional(mut self) -> Self {
                self.requirement = $crate::Requirement::Optional;
                self
            }
        }
    };
}
