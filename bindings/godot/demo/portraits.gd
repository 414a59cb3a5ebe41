## Eight portraits, drawn once and off the main thread, and below them one that walks through the noise for ever.
extends Node2D

## Seconds from one seed to the next.
@export var stride := 2.0

var _portraits := OneStepGenerator.new()
var _walker := OneStepGenerator.new()
var _texture := ImageTexture.new()
var _from := PackedFloat32Array()
var _to := PackedFloat32Array()
var _seed := 0
var _travelled := 0.0


func _ready() -> void:
	_portraits.drawn.connect(_show)
	_portraits.failed.connect(func(code: int, message: String): push_error("%d: %s" % [code, message]))
	if _portraits.open() != OK or _walker.open() != OK:
		push_error(_portraits.last_error + _walker.last_error)
		set_process(false)
		return
	_portraits.draw_async(range(8), range(8))
	_from = _walker.noise([0])
	_to = _walker.noise([1])


func _process(delta: float) -> void:
	_travelled += delta / stride
	if _travelled >= 1.0:
		_travelled = fmod(_travelled, 1.0)
		_seed += 1
		_from = _to
		_to = _walker.noise([_seed + 1])
	# A small picture is drawn in less than a frame; larger ones are for draw_noise_async.
	var images := _walker.draw_noise(_walker.slerp(_from, _to, _travelled), [5])
	if images.is_empty():
		set_process(false)
		return
	if _texture.get_image() == null:
		_texture.set_image(images[0])
		$Walker.texture = _texture
	else:
		_texture.update(images[0])


func _show(images: Array[Image]) -> void:
	for i in images.size():
		var sprite := Sprite2D.new()
		sprite.texture = ImageTexture.create_from_image(images[i])
		sprite.scale = Vector2(4, 4)
		sprite.position = Vector2(40 + 80 * i, 40)
		$Row.add_child(sprite)
