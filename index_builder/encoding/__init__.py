"""Sources become parts: read and decoded ahead, encoded in batches; a killed build goes on."""
