"""PARP in other trainers than fairseq's."""
