//! cvx-seg: trains, evaluates and runs UPerNet on ConvNeXt.

fn main() -> std::process::ExitCode {
    cvx_tools::seg::main()
}
