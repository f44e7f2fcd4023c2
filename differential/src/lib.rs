//! Only tests: they run the real programs of the DEXes in memory. The engine itself does not depend on that machine.
