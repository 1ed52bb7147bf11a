"""One function a family: network -> Dynamics; and paths, one-parameter families of them."""

from hooks.families.affine_pieces import affine_pieces
from hooks.families.bilinear import bilinear
from hooks.families.closed_loop import closed_loop
from hooks.families.controlled import controlled_flow
from hooks.families.dynamix import dynamix
from hooks.families.encode_decode import EncodeDecode, encode_decode, is_encode_decode
from hooks.families.flow import adaptive, flow
from hooks.families.foreign import foreign, from_jax
from hooks.families.kuramoto import Kuramoto
from hooks.families.leaky_rate import LeakyRate, dale, low_rank
from hooks.families.linear_form import (
    LinearForm,
    StateSpaceLayer,
    attention_form,
    diagonal_layer,
    exponential_features,
    gated_layer,
    linear_attention,
    selective_layer,
)
from hooks.families.liquid import LiquidTimeConstant, is_liquid, liquid
from hooks.families.long_expressive_memory import LongExpressiveMemory, long_expressive_memory
from hooks.families.loop import iterated_stack, loop, recurrent_depth
from hooks.families.path import along_drive, along_weights
from hooks.families.piecewise_linear import PiecewiseLinear, ShallowPiecewiseLinear
from hooks.families.rebuilt import rebuilt
from hooks.families.recurrent import recurrent
from hooks.families.state_space import recurrent_states, state_space_layer
from hooks.families.state_space_model import embeddings, recurrent_coordinates, state_space_model
from hooks.families.stepped import stepped

__all__ = [
    "EncodeDecode",
    "Kuramoto",
    "LeakyRate",
    "LinearForm",
    "LiquidTimeConstant",
    "LongExpressiveMemory",
    "PiecewiseLinear",
    "ShallowPiecewiseLinear",
    "StateSpaceLayer",
    "adaptive",
    "affine_pieces",
    "along_drive",
    "along_weights",
    "attention_form",
    "bilinear",
    "closed_loop",
    "controlled_flow",
    "dale",
    "diagonal_layer",
    "dynamix",
    "embeddings",
    "encode_decode",
    "exponential_features",
    "flow",
    "foreign",
    "from_jax",
    "gated_layer",
    "is_encode_decode",
    "is_liquid",
    "iterated_stack",
    "linear_attention",
    "liquid",
    "long_expressive_memory",
    "loop",
    "low_rank",
    "rebuilt",
    "recurrent",
    "recurrent_coordinates",
    "recurrent_depth",
    "recurrent_states",
    "selective_layer",
    "state_space_layer",
    "state_space_model",
    "stepped",
]
