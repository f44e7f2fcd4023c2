//! The two swap programs: the real ones if their bytes are given, otherwise native stand-ins for their swap
//! instructions.

mod anchor;
pub mod meteora_damm_v2;
pub mod raydium_cpmm;

use litesvm::LiteSVM;
use litesvm::error::LiteSVMError;
use solana_address::Address;
use solana_program_runtime::invoke_context::BuiltinFunctionRegisterer;
use solana_program_runtime::solana_sbpf::program::BuiltinFunctionDefinition;

use crate::chain::{Options, Program};

/// Loads both programs.
pub fn load(svm: &mut LiteSVM, options: &Options) -> Result<(), LiteSVMError> {
    load_one(svm, raydium_cpmm::PROGRAM, &options.raydium_cpmm, raydium_cpmm::StandIn::register)?;
    load_one(svm, meteora_damm_v2::PROGRAM, &options.meteora_damm_v2, meteora_damm_v2::StandIn::register)
}

fn load_one(
    svm: &mut LiteSVM,
    id: Address,
    program: &Program,
    stand_in: BuiltinFunctionRegisterer,
) -> Result<(), LiteSVMError> {
    match program {
        Program::Real(bytes) => svm.add_program(id, bytes),
        Program::StandIn => {
            svm.add_builtin(id, stand_in);
            Ok(())
        }
    }
}
