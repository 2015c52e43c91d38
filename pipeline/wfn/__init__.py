"""The method: choose the values (centres, clustering), pull weights towards them (regulariser), repeat (fixing)."""
