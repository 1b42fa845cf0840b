"""Words that are frequent in English text and on receipts, invoices, forms and signs."""

_TEXT = """
a about above account across act add address after again against age ago air all almost along already also always am
amount among an and animal another answer any apple apples are area arm around art article as ask at away baby back
bad bag bakery balance bank bar base be beach bean beans bear beautiful became because become bed been beer before
began begin behind being believe below best better between big bill bird birthday bit black blue board boat body book
books both bottle bottom bought bowl box boy bread break bridge bring brother brought brown build building burger bus
business busy but butter buy by cafe cake call came can cannot car card care carry case cash cashier cat cause cell
center centre certain chair change charge charged check cheese chicken child children chips chocolate choose church
city class clean clear clock close closed clothes cloud coat code coffee cold color colour come common company
complete copy corn corner correct cost could count country course cover cream create credit cross cup current customer
cut daily dark data date day days deal debit decide deep delivery deposit describe desk detail did different dinner
direct discount discover dish distance do doctor does dog dollar done door double down draw dream dress drink drive
dry due during each ear early earth east easy eat edge egg eggs eight either electric email employee empty end energy
engine enjoy enough enter entry error even evening ever every example exit expect explain express extra eye face fact
fall family far farm fast father favour fee feel feet few field fig figure fill final find fine finger finish fire
first fish five floor flour flower fly follow food foot for force forest form found four free fresh friday friend
fries from front fruit full garden gave gift girl give glass go gold gone good got grand grapes grass gray great green
ground group grow guest had hair half hall ham hand happy hard has hat have he head hear heart heat heavy held hello
help her here high hill him his hold home honey horse hot hotel hour hours house how however human hundred ice idea if
important in inch include index information inn inside instead interest invoice iron is island it item items its jam
job join juice july jump june just keep kept key kind king kitchen knew know lake lamb land language large last late
laugh law lead learn least leave led left leg lemon length less let letter level life light like line list listen
little live local long look lost lot love low lunch machine made mail main make man manager many map march mark market
matter may me meal mean meat medium meet member menu metal middle might mile milk mind minute miss mix model modern
moment monday money month more morning most mother motion mountain move much music must my name nature near need net
never new news next night nine no noise noodle noon north not note nothing notice now number object of off offer
office often oil old olive on once one onion only open or orange order other our out over own page paid paint pan
paper parking part party pass past pasta path pay payment pen people pepper per perhaps person phone picture piece
pizza place plain plan plant plastic plate play please point pork position possible potato pound power present press
price print problem produce product public pull purchase push put qty quality quantity question quick quiet quite race
rain ran rate reach read ready real reason receipt receive record red reduce refund register remember rent rest
restaurant return rice rich ride right ring rise river road rock roll room round row rule run safe said salad sale
sales salt same sandwich saturday sauce save saw say school sea season seat second section see seem self sell send
sentence serve server service set seven several shape she ship shirt shoe shop short should show side sign silver
similar simple since sing sister sit six size skin sleep slow small snow so soap soft some song soon sound soup south
space speak special speed spell spring square stand star start state station stay steak step still stone stop store
story straight strawberry street strong study subtotal such sugar summer sun sunday supply sure surface sweet system
table take talk tall tax tea team tell ten terminal test text than thank thanks that the their them then there these
they thing think third this those thousand three through thursday ticket time tip to today together tomato too took
top total toward towel town train tree trip true try tuesday turn two type under unit until up us use usual vat very
view visit voice void wait walk wall want warm was wash watch water way we wear weather wednesday week weight well
went were west what wheel when where which while white who whole why wide wife will wind window wine winter wish with
without woman wonder wood word work world would write wrong yard year yellow yes yet you young your zero zone
"""
WORDS = tuple(_TEXT.split())
