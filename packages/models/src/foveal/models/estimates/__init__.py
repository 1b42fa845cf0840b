"""Operations and memory from shapes alone."""
