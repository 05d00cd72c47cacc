"""Everything that pretends to be Ascend hardware or the vendor's software in the rehearsal."""
