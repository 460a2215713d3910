//! On stock kernels.
