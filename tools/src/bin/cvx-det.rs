//! cvx-det: trains, evaluates and runs Mask R-CNN on ConvNeXt.

fn main() -> std::process::ExitCode {
    cvx_tools::det::main()
}
