"""Four products as raw records, with their attributes and human instructions."""

from __future__ import annotations

from typing import Any

MUG: dict[str, Any] = {
    "asin": "B000000001",
    "name": "Acme Stoneware Coffee Mug",
    "full_description": "A mug for coffee.",
    "small_description": ["dishwasher safe ", "holds 12 oz"],
    "pricing": "$7.50",
    "customization_options": {
        "Color": [{"value": " Red/White "}, {"value": "Black"}, {"value": "Black"}],
        "Size": [{"value": '4" Tall'}, {"value": "standard"}],
        "Gone": None,
    },
    "category": "garden",
    "query": " Coffee Mugs ",
    "product_category": "Home & Kitchen › Dining › Mugs",
}
CUP = MUG | {
    "asin": "B000000002",
    "name": "Bolt Paper Cup",
    "full_description": "",
    "small_description": "light",
    "pricing": "$8.00 - $21.00",
    "customization_options": {"Look": [{"value": "plain"}], "Style": [{"value": "plain"}, {"value": "<b>'x'&"}]},
    "product_category": "Home & Kitchen › Dining › Cups",
}
LAMP = MUG | {
    "asin": "B000000003",
    "name": "Corner Lamp",
    "small_description": ["  ", "\n", "bright"],
    "pricing": "",
    "customization_options": "",
    "category": "electronics",
    "query": "lamps",
    "product_category": "Lighting › Lamps",
}
SOFA = LAMP | {"asin": "B000000004", "name": "Dora Velvet Sofa", "pricing": "$985.00", "query": "sofas"}
ATTRIBUTES = {
    "B000000001": {
        "attributes": ["dishwasher safe", "easy clean"],
        "instruction": "Find me dishwasher safe coffee mugs",
        "instruction_attributes": ["dishwasher safe"],
    },
    "B000000002": {"attributes": ["easy clean"]},
    "B000000003": {
        "attributes": [],
        "instruction": "Find me bright lamps",
        "instruction_attributes": ["bright"],
    },
    "B000000004": {
        "attributes": ["soft"],
        "instruction": "Find me soft sofas",
        "instruction_attributes": ["soft"],
    },
}
HUMAN = {
    "B000000001": [
        {
            "instruction": "i want a black mug.",
            "instruction_attributes": ["easy clean"],
            "instruction_options": ["black"],
        },
        {"instruction": "any mug", "instruction_attributes": [], "instruction_options": []},
    ],
    "B00UNKNOWN": [{"instruction": "x", "instruction_attributes": ["y"], "instruction_options": []}],
}
